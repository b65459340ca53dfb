//! Trains a small digit classifier a few times, logs each run, and makes the best one the champion.
//!
//!     cargo run --release -p runlode --example train -- ./train-store
//!
//! The digits are drawn by the program itself: seven-segment shapes on 5 x 7 pixels, shifted and noisy. The model is a
//! softmax regression, trained by stochastic gradient descent.

use std::error::Error;
use std::path::PathBuf;

use runlode::{Error as StoreError, RunSpec, RunStatus, Store, VersionSpec};

const WIDTH: usize = 5;
const HEIGHT: usize = 7;
const PIXELS: usize = WIDTH * HEIGHT;
const CLASSES: usize = 10;

/// Which of the seven segments a digit lights: top, left and right above, middle, left and right below, bottom.
const SEGMENTS: [u8; CLASSES] =
    [0b1110111, 0b0010010, 0b1011101, 0b1011011, 0b0111010, 0b1101011, 0b1101111, 0b1010010, 0b1111111, 0b1111011];

/// A small generator of the kind xorshift: the same digits on every machine.
struct Random(u64);

impl Random {
    fn next(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as f64 / (1u64 << 53) as f64
    }
}

fn draw(digit: usize, random: &mut Random) -> [f64; PIXELS] {
    let mut image = [0.0; PIXELS];
    let lit = |bit: u32| SEGMENTS[digit] >> (6 - bit) & 1 == 1;
    let mut light = |row: usize, column: usize| image[row * WIDTH + column] = 1.0;
    for column in 1..WIDTH - 1 {
        [(0, 0), (3, HEIGHT / 2), (6, HEIGHT - 1)]
            .into_iter()
            .filter(|(bit, _)| lit(*bit))
            .for_each(|(_, row)| light(row, column));
    }
    for row in 1..HEIGHT / 2 {
        [(1, 0), (2, WIDTH - 1)].into_iter().filter(|(bit, _)| lit(*bit)).for_each(|(_, column)| light(row, column));
    }
    for row in HEIGHT / 2 + 1..HEIGHT - 1 {
        [(4, 0), (5, WIDTH - 1)].into_iter().filter(|(bit, _)| lit(*bit)).for_each(|(_, column)| light(row, column));
    }
    image.map(|pixel| pixel + (random.next() - 0.5) * 1.6)
}

fn digits(count: usize, random: &mut Random) -> Vec<(usize, [f64; PIXELS])> {
    (0..count).map(|i| (i % CLASSES, draw(i % CLASSES, random))).collect()
}

struct Model {
    weights: Vec<[f64; PIXELS + 1]>,
}

impl Model {
    fn new() -> Self {
        Self { weights: vec![[0.0; PIXELS + 1]; CLASSES] }
    }

    /// Probability of each digit.
    fn predict(&self, image: &[f64; PIXELS]) -> [f64; CLASSES] {
        let mut scores = [0.0; CLASSES];
        for (score, weights) in scores.iter_mut().zip(&self.weights) {
            *score = weights[PIXELS] + weights.iter().zip(image).map(|(weight, pixel)| weight * pixel).sum::<f64>();
        }
        let greatest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let powers = scores.map(|score| (score - greatest).exp());
        let total: f64 = powers.iter().sum();
        powers.map(|power| power / total)
    }

    /// One step down the gradient; the loss before it.
    fn learn(&mut self, digit: usize, image: &[f64; PIXELS], rate: f64) -> f64 {
        let chances = self.predict(image);
        for (class, weights) in self.weights.iter_mut().enumerate() {
            let error = chances[class] - f64::from(class == digit);
            for (weight, pixel) in weights.iter_mut().zip(image.iter().chain([&1.0])) {
                *weight -= rate * error * pixel;
            }
        }
        -chances[digit].max(1e-300).ln()
    }

    fn accuracy(&self, digits: &[(usize, [f64; PIXELS])]) -> f64 {
        let right = digits.iter().filter(|(digit, image)| {
            let chances = self.predict(image);
            chances.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).map(|(class, _)| class) == Some(*digit)
        });
        right.count() as f64 / digits.len() as f64
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args_os().nth(1).map_or_else(|| PathBuf::from("train-store"), PathBuf::from);
    let store = Store::open(&path)?;
    let experiment = store.experiment("drawn digits")?;
    let mut random = Random(42);
    let (train, valid) = (digits(2000, &mut random), digits(500, &mut random));

    let mut best = None;
    for rate in [0.0005, 0.005, 0.05, 0.5] {
        let run = experiment.create_run(RunSpec::named(format!("rate {rate}")).tag("model", "softmax"))?;
        run.log_params(&[("rate", &rate.to_string()), ("images", &train.len().to_string())])?;
        let mut row = run.row(&["loss"])?;
        let mut model = Model::new();
        let mut step = 0;
        for epoch in 0..5 {
            for (digit, image) in &train {
                let loss = model.learn(*digit, image, rate);
                // Every single loss: a call costs less than a microsecond, and none is ever sampled away.
                row.log(step, &[loss])?;
                step += 1;
            }
            run.log_metrics(epoch, &[("valid accuracy", model.accuracy(&valid))])?;
        }
        let accuracy = model.accuracy(&valid);
        let folder = PathBuf::from(run.artifact_place()?);
        std::fs::create_dir_all(&folder)?;
        let weights: String = model.weights.iter().map(|row| format!("{row:?}\n")).collect();
        std::fs::write(folder.join("weights.txt"), &weights)?;
        run.log_artifact_reference("weights.txt", Some(weights.len() as u64))?;
        run.end(RunStatus::Finished)?;
        println!("rate {rate:<7} valid accuracy {:.1} %  run {}", accuracy * 100.0, run.id());
        if best.as_ref().is_none_or(|(most, _)| accuracy > *most) {
            best = Some((accuracy, run.id()));
        }
    }

    if let Some((accuracy, run)) = best {
        let digits = match store.registered_model("digits") {
            Err(StoreError::NotFound { .. }) => store.create_registered_model("digits")?,
            found => found?,
        };
        let version = digits.create_version(VersionSpec::from_source(format!("runs:/{run}/weights.txt")).run(run))?;
        digits.set_alias("champion", version)?;
        println!("models:/digits@champion is version {version}: {:.1} % right", accuracy * 100.0);
    }
    println!("look at it:  runlode runs {0}   or   runlode serve {0}", path.display());
    store.close()?;
    Ok(())
}
