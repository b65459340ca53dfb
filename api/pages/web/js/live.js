/**
 * The stream of changes. One stream for the whole page; it stops while the page is hidden and goes on from its position,
 * so nothing is missed and no connection is kept for a tab that nobody sees.
 */

import { eventsUrl } from "./api.js";

/**
 * @typedef {object} Change
 * @property {number} next
 * @property {Record<string, string[]>} runs kinds of events of each run
 * @property {boolean} experiments
 * @property {boolean} models
 * @property {any[]} points run, key, steps, times, values
 * @property {[string, string][]} series of which there were too many points
 * @property {boolean} more
 */

const listenersOfChanges = new Set();
const listenersOfState = new Set();
let source = null;
let next = 0;
let wanted = false;
let state = "off";

/** Calls a function with each change; with `null` everything must be read again. Returns what ends that. */
export function onChange(call) {
  listenersOfChanges.add(call);
  return () => listenersOfChanges.delete(call);
}

/** Calls a function with the state: `live`, `lost`, `off`. */
export function onLiveState(call) {
  listenersOfState.add(call);
  call(state);
}

function become(now) {
  if (state !== now) {
    state = now;
    for (const call of listenersOfState) {
      call(state);
    }
  }
}

function tell(change) {
  for (const call of listenersOfChanges) {
    call(change);
  }
}

/** Begins the stream after a position, unless it runs already. */
export function follow(position) {
  wanted = true;
  if (!next) {
    next = position + 1;
  }
  connect();
}

/** Ends the stream. What happens until it begins again is told then. */
export function unfollow() {
  wanted = false;
  disconnect();
}

function disconnect() {
  if (source) {
    source.close();
    source = null;
  }
  become("off");
}

function connect() {
  if (source || !wanted || document.hidden) {
    return;
  }
  const mine = new EventSource(eventsUrl(next));
  source = mine;
  const read = (event) => {
    const data = JSON.parse(event.data);
    next = data.next;
    return data;
  };
  mine.addEventListener("begin", (event) => {
    read(event);
    become("live");
  });
  mine.addEventListener("change", (event) => {
    become("live");
    tell(read(event));
  });
  mine.addEventListener("reset", (event) => {
    read(event);
    tell(null);
  });
  mine.addEventListener("error", () => {
    become("lost");
    if (mine.readyState === EventSource.CLOSED && source === mine) {
      source = null;
      setTimeout(connect, 3000);
    }
  });
}

document.addEventListener("visibilitychange", () => {
  if (document.hidden) {
    disconnect();
  } else {
    connect();
  }
});
