/**
 * Smoothing: an exponential mean over rows, without the bias of its beginning. Rows without a value are passed over.
 */

/**
 * @param {ArrayLike<number>} values
 * @param {number} weight 0 (none) to 0.999
 * @returns {ArrayLike<number>}
 */
export function smoothed(values, weight) {
  if (!(weight > 0)) {
    return values;
  }
  const out = new Float64Array(values.length);
  let [sum, share] = [0, 0];
  for (let i = 0; i < values.length; i += 1) {
    if (Number.isFinite(values[i])) {
      sum = weight * sum + (1 - weight) * values[i];
      share = weight * share + (1 - weight);
      out[i] = sum / share;
    } else {
      out[i] = NaN;
    }
  }
  return out;
}
