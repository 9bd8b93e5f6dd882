//! Phase-resolved pulse sequences (PRPS) of partial discharges, from a model of their physics.
//!
//! A sensor on gas-insulated switchgear sees 60 cycles of the power frequency. Each is cut into 120
//! windows of 3 degrees, and the largest pulse in each window makes one grey pixel: a row is a cycle,
//! a column a phase. Phase 0 is the rising zero crossing of the voltage.
//!
//! # The model
//!
//! The voltage over a defect is `u sin(phase)`, in units of the voltage at which it begins to
//! discharge (the inception voltage), so that `u` tells how far it is overstressed.
//!
//! *Sites with memory* (void, surface, floating electrode) follow the scheme of Niemeyer \[1\],
//! reviewed with its parameters in \[2\]: a discharge leaves charge behind, whose field is added to
//! that of the voltage; the next one comes when the sum passes inception *and* a first electron is
//! there, after a random time lag; it takes the field down to a remnant, and its size is in
//! proportion to that drop. The position in phase, the repetition rate and the distribution of sizes
//! follow from this and are not drawn. That the time lag, the conductivity of the surface and the
//! decay of the charge rule the pattern is shown in \[3\].
//!
//! | class | what sets it apart in the model |
//! |---|---|
//! | `void` | time lags of a fraction of the cycle, charge that stays: both polarities alike, from before the zero crossing up the flank, sizes spread |
//! | `surface` | several sites of different strength on an insulator; where the metal is the cathode electrons come easily, so one polarity has many small discharges and the other few large ones; sizes log-normal, as found for discharges at surfaces \[4\] |
//! | `floating` | a metal part with a loose contact: a spark gap that fires without lag at one voltage, so large pulses of one size at equal steps of the voltage, equally in both polarities |
//! | `corona` | a point in gas, without memory: trains of small pulses around the peak at which the point is negative, a few much larger ones at the other peak when it is overstressed further \[5\] |
//! | `particle` | a free particle that is charged at the electrode, lifted and hops: a pulse at each touch, at any phase, its size following the voltage of that moment; hops of many cycles and rests |
//! | `noise` | no discharge: random pulses, pulses of converters at fixed phases, or a transmitter whose period is foreign to the cycle and draws slanting lines |
//!
//! Corona, surface discharges and free particles in SF6 have been measured side by side in \[6\];
//! patterns by kind of insulation are shown in \[7\].
//!
//! The instrument adds its part: noise, an unknown gain that drifts, an error of the phase reference,
//! cycles that are lost, and pulses from a defect in the neighbouring conductor, weaker and 120 or
//! 240 degrees later. [`Prps::difficulty`] scales these from hardly any to heavy.
//!
//! # What it is not
//!
//! The parameters are plausible ranges, not fits to one apparatus. A network that knows these
//! pictures has not been shown to know a real switchgear.
//!
//! # Sources
//!
//! 1. L. Niemeyer: A generalized approach to partial discharge modeling. IEEE Transactions on
//!    Dielectrics and Electrical Insulation 2 (1995).
//! 2. J. M. Rodriguez-Serna, R. Albarracin-Sanchez, M. Dong, M. Ren: Computer Simulation of Partial
//!    Discharges in Voids inside Epoxy Resins Using Three-Capacitance and Analytical Models. Polymers
//!    12 (2020) 77.
//! 3. T. Venge, C. Nyamupangedengu: Analysis of Cavity PD Characteristics' Sensitivity to Changes in
//!    the Supply Voltage Frequency. Energies 14 (2021) 478.
//! 4. Y. Wang: New Method for Measuring Statistical Distributions of Partial Discharge Pulses. Journal
//!    of Research of the National Institute of Standards and Technology 102 (1997) 569.
//! 5. M. Florkowski, D. Krzesniak, M. Kuniewski, P. Zydron: Partial Discharge Imaging Correlated with
//!    Phase-Resolved Patterns in Non-Uniform Electric Fields with Various Dielectric Barrier
//!    Materials. Energies 13 (2020) 2676.
//! 6. A. Rodrigo Mor, L. C. Castro Heredia, F. A. Munoz: A Novel Approach for Partial Discharge
//!    Measurements on GIS Using HFCT Sensors. Sensors 18 (2018).
//! 7. Suwarno: Partial Discharge in High Voltage Insulating Materials. International Journal on
//!    Electrical Engineering and Informatics 8 (2016).

use std::f64::consts::PI;
use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;

use bunjae_tensor::Random;
use serde::{Deserialize, Serialize};

use crate::augment::random_for;
use crate::dataset::{Dataset, Item, Records, Source};
use crate::error::DataError;
use crate::parallel;
use crate::picture::{Channels, Picture};

/// Rows: cycles of the power frequency.
pub const CYCLES: usize = 60;

/// Columns: windows of phase.
pub const WINDOWS: usize = 120;

/// Steps of the simulation in a window.
const STEPS: usize = 10;

/// What is wrong in the switchgear.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Defect {
    /// A sharp point in the gas.
    Corona,
    /// A metal part without a firm contact.
    Floating,
    /// Nothing; only disturbances.
    Noise,
    /// A loose particle.
    Particle,
    /// A contaminated insulator.
    Surface,
    /// A cavity in an insulator.
    Void,
}

impl Defect {
    /// Every class, in the order of names, which is the order of labels.
    pub const ALL: [Defect; 6] = [
        Defect::Corona,
        Defect::Floating,
        Defect::Noise,
        Defect::Particle,
        Defect::Surface,
        Defect::Void,
    ];

    /// The class's name.
    pub const fn name(self) -> &'static str {
        match self {
            Defect::Corona => "corona",
            Defect::Floating => "floating",
            Defect::Noise => "noise",
            Defect::Particle => "particle",
            Defect::Surface => "surface",
            Defect::Void => "void",
        }
    }
}

/// How many sequences, and how hard to tell apart.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prps {
    /// Sequences of each class.
    pub per_class: usize,
    /// From 0 (a laboratory) to 1 (hardly to be told apart).
    pub difficulty: f64,
    /// What everything random follows from.
    pub seed: u64,
}

/// The most sequences of a class.
const MAX_PER_CLASS: usize = 100_000;

impl Prps {
    fn check(&self) -> Result<(), DataError> {
        if !(0.0..=1.0).contains(&self.difficulty) {
            let what = format!("{} is not within 0 and 1", self.difficulty);
            return Err(DataError::setting("difficulty", what));
        }
        if !(1..=MAX_PER_CLASS).contains(&self.per_class) {
            let what = format!("{} is not within 1 and {MAX_PER_CLASS}", self.per_class);
            return Err(DataError::setting("per_class", what));
        }
        Ok(())
    }

    /// The sequence of one place in the data set. It does not change when `per_class` does.
    pub fn picture(&self, defect: Defect, index: usize) -> Picture {
        let mut random = random_for(self.seed, defect as u64, index as u64);
        sequence(defect, self.difficulty, &mut random)
    }

    /// All sequences, class by class, without splits, in memory. 0 threads: as many as the machine
    /// runs at once.
    ///
    /// # Errors
    /// [`DataError::Setting`].
    pub fn dataset(&self, threads: usize) -> Result<Dataset, DataError> {
        self.check()?;
        let count = Defect::ALL.len() * self.per_class;
        let place = |index: usize| (Defect::ALL[index / self.per_class], index % self.per_class);
        let pictures = parallel::map(count, threads, &|_| {}, |index| {
            let (defect, index) = place(index);
            self.picture(defect, index)
        });
        let samples = pictures.iter().flat_map(|picture| picture.samples().iter().copied());
        let records = Arc::new(Records {
            origin: "prps".to_owned(),
            width: WINDOWS,
            height: CYCLES,
            channels: Channels::Grey,
            samples: samples.collect(),
        });
        let item = |index| Item {
            source: Source::Record { records: Arc::clone(&records), index },
            label: Some(index / self.per_class),
            split: None,
            group: None,
        };
        Ok(Dataset {
            classes: Defect::ALL.map(|defect| defect.name().to_owned()).to_vec(),
            items: (0..count).map(item).collect(),
            skipped: Vec::new(),
        })
    }

    /// Writes all sequences as PNG files, `class/00000.png` and so on, each under a temporary name
    /// first. Files of these names are replaced.
    ///
    /// # Errors
    /// [`DataError::Setting`], [`DataError::Read`] with the path that cannot be written.
    pub fn write(
        &self,
        folder: &Path,
        threads: usize,
        progress: &(dyn Fn(usize) + Sync),
    ) -> Result<(), DataError> {
        self.check()?;
        for defect in Defect::ALL {
            let folder = folder.join(defect.name());
            fs::create_dir_all(&folder).map_err(DataError::read(&folder))?;
        }
        let count = Defect::ALL.len() * self.per_class;
        let results = parallel::map(count, threads, progress, |index| {
            let (defect, index) = (Defect::ALL[index / self.per_class], index % self.per_class);
            let path = folder.join(defect.name()).join(format!("{index:05}.png"));
            let partial = path.with_extension("png.partial");
            write_png(&self.picture(defect, index), &partial)
                .and_then(|()| fs::rename(&partial, &path))
                .map_err(DataError::read(&path))
        });
        results.into_iter().collect()
    }
}

fn write_png(picture: &Picture, path: &Path) -> io::Result<()> {
    let (width, height) = (picture.width() as u32, picture.height() as u32);
    let (colour, format) = (image::ExtendedColorType::L8, image::ImageFormat::Png);
    image::save_buffer_with_format(path, picture.samples(), width, height, colour, format)
        .map_err(io::Error::other)
}

/// A pulse: when, in cycles from the start, and how large, 1 being the instrument's full scale.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Pulse {
    time: f64,
    size: f64,
}

fn sequence(defect: Defect, difficulty: f64, random: &mut Random) -> Picture {
    let mut pulses = pulses(defect, random);
    if difficulty > 0.0 && random.unit() < 0.8 * difficulty {
        let other = Defect::ALL[random.below(Defect::ALL.len())];
        let weaker = random.uniform(0.05, 0.6 * difficulty.max(0.1));
        let later = if random.below(2) == 0 { 1.0 / 3.0 } else { 2.0 / 3.0 };
        let neighbour = self::pulses(other, random);
        pulses.extend(
            neighbour.iter().map(|p| Pulse { time: p.time + later, size: p.size * weaker }),
        );
    }
    record(&pulses, difficulty, random)
}

/// What the instrument makes of the pulses.
fn record(pulses: &[Pulse], difficulty: f64, random: &mut Random) -> Picture {
    let largest = pulses.iter().map(|pulse| pulse.size).fold(0.0, f64::max).max(1e-9);
    // The instrument is set to the largest pulse, more or less.
    let mut gain = random.uniform(0.9 - 0.65 * difficulty, 1.1 + 0.5 * difficulty) / largest;
    let gain_drift = 0.004 + 0.04 * difficulty;
    let offset = random.normal() * (0.004 + 0.05 * difficulty);
    let phase_drift = random.normal() * 0.001 * difficulty;
    let floor = 0.01 + 0.09 * difficulty * random.uniform(0.5, 1.0);
    let lost_share = 0.15 * difficulty * random.unit();

    let mut rows = vec![[0f64; WINDOWS]; CYCLES];
    for pulse in pulses {
        let cycle = pulse.time.floor();
        let time = pulse.time + offset + phase_drift * cycle;
        let row = time.floor();
        let window = ((time - row) * WINDOWS as f64) as usize;
        // A pulse that the phase error moves out at one end is taken in at the other.
        let row = (row as i64).rem_euclid(CYCLES as i64) as usize;
        if let Some(value) = rows.get_mut(row).and_then(|row| row.get_mut(window)) {
            *value = value.max(pulse.size);
        }
    }
    let mut samples = Vec::with_capacity(CYCLES * WINDOWS);
    for row in rows {
        gain *= libm::exp(random.normal() * gain_drift);
        let lost = random.unit() < lost_share;
        for value in row {
            // The envelope of noise, of which a peak detector sees the upper end.
            let noise = (random.normal() * floor).abs();
            let seen =
                if lost { noise } else { noise.max(value * gain + random.normal() * floor * 0.3) };
            samples.push((seen * 255.0).round() as u8);
        }
    }
    let blank = || Picture::filled(WINDOWS, CYCLES, Channels::Grey, [0; 3]);
    Picture::new(WINDOWS, CYCLES, Channels::Grey, samples).unwrap_or_else(blank)
}

fn pulses(defect: Defect, random: &mut Random) -> Vec<Pulse> {
    match defect {
        Defect::Void => void(random),
        Defect::Surface => surface(random),
        Defect::Floating => floating(random),
        Defect::Corona => corona(random),
        Defect::Particle => particle(random),
        Defect::Noise => noise(random),
    }
}

/// `sin` of the phase of each step of a cycle.
fn wave() -> Vec<f64> {
    let steps = WINDOWS * STEPS;
    (0..steps).map(|step| libm::sin(2.0 * PI * (step as f64 + 0.5) / steps as f64)).collect()
}

/// The factor `exp(sigma z)`, with median 1.
fn log_normal(sigma: f64, random: &mut Random) -> f64 {
    libm::exp(sigma * random.normal())
}

/// A place where charge stays after a discharge. The arrays hold the positive polarity first.
struct Site {
    /// The field at which discharges begin.
    inception: [f64; 2],
    /// The field that one leaves.
    remnant: [f64; 2],
    /// First electrons in a cycle, at inception; more come in proportion to the excess.
    electrons: [f64; 2],
    /// What part of the charge is still there a cycle later.
    memory: f64,
    /// The size of a discharge that takes the field down by 1.
    scale: [f64; 2],
    /// The spread of sizes beyond that of the field.
    spread: f64,
}

impl Site {
    fn discharge(&self, overstress: f64, wave: &[f64], random: &mut Random, out: &mut Vec<Pulse>) {
        let step = 1.0 / wave.len() as f64;
        let keep = libm::pow(self.memory, step);
        let mut charge = 0.0;
        // The first cycles, in which the charge settles, are not recorded.
        const SETTLING: usize = 4;
        for cycle in 0..CYCLES + SETTLING {
            for (index, sine) in wave.iter().enumerate() {
                charge *= keep;
                let field = overstress * sine - charge;
                let polarity = usize::from(field < 0.0);
                let excess = field.abs() / self.inception[polarity] - 1.0;
                if excess <= 0.0 {
                    continue;
                }
                let chance = self.electrons[polarity] * (1.0 + 4.0 * excess) * step;
                if random.unit() >= chance {
                    continue;
                }
                let drop = (field.abs() - self.remnant[polarity]).max(0.0);
                charge += drop.copysign(field);
                if cycle >= SETTLING {
                    let time = (cycle - SETTLING) as f64 + (index as f64 + random.unit()) * step;
                    let size = self.scale[polarity] * drop * log_normal(self.spread, random);
                    out.push(Pulse { time, size });
                }
            }
        }
    }
}

fn void(random: &mut Random) -> Vec<Pulse> {
    let mut pulses = Vec::new();
    let remnant = random.uniform(0.2, 0.5);
    let electrons = random.uniform(6.0, 25.0);
    let site = Site {
        inception: [1.0; 2],
        remnant: [remnant; 2],
        electrons: [electrons; 2],
        memory: random.uniform(0.75, 0.98),
        scale: [1.0; 2],
        spread: random.uniform(0.05, 0.2),
    };
    site.discharge(random.uniform(1.1, 2.2), &wave(), random, &mut pulses);
    pulses
}

fn surface(random: &mut Random) -> Vec<Pulse> {
    let mut pulses = Vec::new();
    let wave = wave();
    let overstress = random.uniform(1.2, 2.0);
    // Which polarity of the voltage makes the metal the cathode.
    let easy = random.below(2);
    let asymmetry = random.uniform(1.4, 2.2);
    for _ in 0..2 + random.below(4) {
        let strength = random.uniform(0.8, 1.3);
        let mut inception = [strength * asymmetry.min(overstress * 0.9 / strength); 2];
        inception[easy] = strength * 0.8;
        let mut electrons = [random.uniform(1.0, 4.0); 2];
        electrons[easy] = random.uniform(25.0, 70.0);
        let mut scale = [random.uniform(0.8, 1.4); 2];
        scale[easy] = random.uniform(0.3, 0.6);
        let site = Site {
            inception,
            remnant: [random.uniform(0.3, 0.6) * strength; 2],
            electrons,
            // Charge runs off over a surface faster than it leaves a closed void.
            memory: random.uniform(0.2, 0.6),
            scale,
            spread: random.uniform(0.3, 0.55),
        };
        site.discharge(overstress, &wave, random, &mut pulses);
    }
    pulses
}

fn floating(random: &mut Random) -> Vec<Pulse> {
    let mut pulses = Vec::new();
    let site = Site {
        inception: [1.0; 2],
        remnant: [random.uniform(0.0, 0.15); 2],
        // Enough for one to be there in every step.
        electrons: [1e6; 2],
        memory: 1.0,
        scale: [1.0; 2],
        spread: random.uniform(0.01, 0.04),
    };
    site.discharge(random.uniform(1.05, 2.6), &wave(), random, &mut pulses);
    // At times the part touches, and is quiet.
    if random.below(3) == 0 {
        let (start, length) = (random.below(CYCLES) as f64, 3.0 + random.below(12) as f64);
        pulses.retain(|pulse| !(start..start + length).contains(&pulse.time));
    }
    pulses
}

fn corona(random: &mut Random) -> Vec<Pulse> {
    let mut pulses = Vec::new();
    let wave = wave();
    let step = 1.0 / wave.len() as f64;
    // The point sits on the conductor, and is negative with it, or on the enclosure.
    let sign = if random.unit() < 0.7 { -1.0 } else { 1.0 };
    let positive_inception = random.uniform(1.15, 1.5);
    let rate = random.uniform(150.0, 500.0);
    let (small, large) = (random.uniform(0.2, 0.35), random.uniform(0.6, 1.0));
    let mut overstress = random.uniform(1.04, 1.45);
    for cycle in 0..CYCLES {
        // The gas around the point is conditioned and recovers.
        overstress = (overstress + 0.004 * random.normal()).clamp(1.02, 1.5);
        for (index, sine) in wave.iter().enumerate() {
            let voltage = overstress * sine * sign;
            let (chance, size) = if voltage > 1.0 {
                (rate * (voltage - 1.0) * 4.0 * step, small * log_normal(0.12, random))
            } else if -voltage > positive_inception {
                let chance = 0.1 * rate * (-voltage - positive_inception) * step;
                (chance, large * log_normal(0.25, random))
            } else {
                continue;
            };
            if random.unit() < chance {
                let time = cycle as f64 + (index as f64 + random.unit()) * step;
                pulses.push(Pulse { time, size });
            }
        }
    }
    pulses
}

fn particle(random: &mut Random) -> Vec<Pulse> {
    let mut pulses = Vec::new();
    let mean_flight = random.uniform(0.12, 0.7);
    let scale = random.uniform(0.6, 1.0);
    // How lively it hops; it wanders, and below a limit the particle rests.
    let mut life: f64 = random.uniform(0.8, 1.3);
    let mut time = random.unit();
    while time < CYCLES as f64 {
        life = (life + 0.06 * random.normal()).clamp(0.2, 1.6);
        if life < 0.45 {
            time += random.uniform(1.0, 5.0);
            life = random.uniform(0.6, 1.2);
            continue;
        }
        // The charge taken up at a touch is in proportion to the field, but for the image of what
        // it brings along.
        let field = libm::sin(2.0 * PI * time).abs();
        let size = scale * life * (0.25 + 0.75 * field) * log_normal(0.3, random);
        pulses.push(Pulse { time, size });
        // Small sparks as it comes near.
        for _ in 0..random.below(3) {
            let time = (time - 0.02 * random.unit()).max(0.0);
            pulses.push(Pulse { time, size: size * random.uniform(0.1, 0.4) });
        }
        time += mean_flight * life * random.uniform(0.3, 1.7);
    }
    pulses
}

fn noise(random: &mut Random) -> Vec<Pulse> {
    let mut pulses = Vec::new();
    let mut kinds = [random.below(2) == 0, random.below(2) == 0, random.below(2) == 0];
    kinds[random.below(3)] = true;
    let [scattered, converter, transmitter] = kinds;
    if scattered {
        for _ in 0..random.integer(40, 900) {
            let time = random.uniform(0.0, CYCLES as f64);
            pulses.push(Pulse { time, size: 0.4 * log_normal(0.5, random) });
        }
    }
    if converter {
        // Six equal steps of a three-phase bridge, of which some may be too weak to be seen.
        let (first, size) = (random.unit() / 6.0, random.uniform(0.4, 0.9));
        let seen: Vec<usize> = (0..6).filter(|_| random.unit() < 0.75).collect();
        for cycle in 0..CYCLES {
            for &valve in &seen {
                let time = cycle as f64 + first + valve as f64 / 6.0 + 0.002 * random.normal();
                pulses.push(Pulse { time: time.max(0.0), size: size * log_normal(0.06, random) });
            }
        }
    }
    if transmitter {
        let period = random.uniform(0.07, 0.6);
        let size = random.uniform(0.4, 0.9);
        let mut time = random.unit() * period;
        while time < CYCLES as f64 {
            pulses.push(Pulse { time, size: size * log_normal(0.08, random) });
            time += period;
        }
    }
    pulses
}

#[cfg(test)]
mod tests {
    use super::*;

    const COUNT: u64 = 40;

    fn many(defect: Defect) -> Vec<Vec<Pulse>> {
        (0..COUNT).map(|index| pulses(defect, &mut random_for(3, 0, index))).collect()
    }

    /// The share of pulses whose phase lies in one of the ranges, in degrees.
    fn share(pulses: &[Pulse], ranges: &[(f64, f64)]) -> f64 {
        let inside = |pulse: &&Pulse| {
            let degrees = pulse.time.fract() * 360.0;
            ranges.iter().any(|&(from, to)| (from..to).contains(&degrees))
        };
        pulses.iter().filter(inside).count() as f64 / pulses.len() as f64
    }

    /// Standard deviation over mean of the sizes.
    fn variation(pulses: &[Pulse]) -> f64 {
        let count = pulses.len() as f64;
        let mean = pulses.iter().map(|pulse| pulse.size).sum::<f64>() / count;
        let square = pulses.iter().map(|pulse| (pulse.size - mean).powi(2)).sum::<f64>() / count;
        square.sqrt() / mean
    }

    #[test]
    fn every_sequence_has_pulses_within_the_time() {
        for defect in Defect::ALL {
            for pulses in many(defect) {
                assert!(pulses.len() > 20, "{defect:?}: {} pulses", pulses.len());
                let inside = |pulse: &Pulse| {
                    (0.0..CYCLES as f64 + 1.0).contains(&pulse.time)
                        && pulse.size > 0.0
                        && pulse.size.is_finite()
                };
                assert!(pulses.iter().all(inside), "{defect:?}");
            }
        }
    }

    #[test]
    fn corona_sits_at_one_peak_and_is_larger_at_the_other() {
        for pulses in many(Defect::Corona) {
            let (up, down) = (share(&pulses, &[(40., 140.)]), share(&pulses, &[(220., 320.)]));
            assert!(up + down > 0.999 && up.max(down) > 0.9, "{up} {down}");
        }
    }

    #[test]
    fn voids_discharge_on_the_flanks_of_both_polarities_alike() {
        for pulses in many(Defect::Void) {
            let flanks = share(&pulses, &[(0., 95.), (180., 275.), (310., 360.), (130., 180.)]);
            assert!(flanks > 0.85, "{flanks}");
            let positive = share(&pulses, &[(0., 120.), (310., 360.)]);
            assert!((0.35..0.65).contains(&positive), "{positive}");
        }
    }

    #[test]
    fn floating_parts_give_pulses_of_one_size_and_surfaces_of_many() {
        for pulses in many(Defect::Floating) {
            assert!(variation(&pulses) < 0.06, "{}", variation(&pulses));
        }
        for pulses in many(Defect::Surface) {
            assert!(variation(&pulses) > 0.3, "{}", variation(&pulses));
        }
    }

    #[test]
    fn one_polarity_of_a_surface_has_more_and_smaller_discharges() {
        let mut clear = 0;
        for pulses in many(Defect::Surface) {
            let half = |which: f64| -> Vec<Pulse> {
                let inside = |p: &&Pulse| ((p.time + 0.125).fract() < 0.5) == (which < 0.5);
                pulses.iter().filter(inside).copied().collect()
            };
            let (a, b) = (half(0.0), half(1.0));
            let (many, few) = if a.len() > b.len() { (a, b) } else { (b, a) };
            let mean = |pulses: &[Pulse]| {
                pulses.iter().map(|pulse| pulse.size).sum::<f64>() / pulses.len().max(1) as f64
            };
            clear += u64::from(many.len() > 2 * few.len() && mean(&few) > mean(&many));
        }
        assert!(clear > COUNT * 8 / 10, "{clear} of {COUNT}");
    }

    #[test]
    fn particles_and_scattered_noise_know_no_phase() {
        let all: Vec<Pulse> = many(Defect::Particle).concat();
        for quarter in 0..4 {
            let from = f64::from(quarter) * 90.0;
            let share = share(&all, &[(from, from + 90.0)]);
            assert!((0.2..0.3).contains(&share), "{share}");
        }
    }
}
