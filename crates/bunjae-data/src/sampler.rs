//! Which pictures an epoch shows, and in which order; and what a class weighs in a loss.

use serde::{Deserialize, Serialize};

use crate::augment::random_for;
use crate::dataset::Dataset;

/// The order of the pictures in an epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// As in the data set, every epoch.
    #[default]
    Sequential,
    /// Every picture once, in a new order every epoch.
    Shuffled,
    /// As many pictures as there are, every class equally often: those of large classes only in
    /// part, those of small ones several times, each once before any comes again.
    Balanced,
}

impl Order {
    /// The pictures of one epoch, as indices into the data set.
    pub fn epoch(self, dataset: &Dataset, seed: u64, epoch: u64) -> Vec<usize> {
        // No picture has this index, so that these numbers are nobody else's.
        let mut random = random_for(seed, epoch, u64::MAX);
        let count = dataset.items.len();
        let mut order: Vec<usize> = (0..count).collect();
        match self {
            Order::Sequential => order,
            Order::Shuffled => {
                random.shuffle(&mut order);
                order
            }
            Order::Balanced => {
                let mut members: Vec<Vec<usize>> = vec![Vec::new(); dataset.classes.len() + 1];
                for (index, item) in dataset.items.iter().enumerate() {
                    let class = item.label.unwrap_or(dataset.classes.len());
                    if let Some(members) = members.get_mut(class) {
                        members.push(index);
                    }
                }
                members.retain(|members| !members.is_empty());
                let mut taken = vec![0; members.len()];
                order.clear();
                // A round takes one picture of each class; the last may be cut short, so the
                // classes take turns at being first.
                while order.len() < count && !members.is_empty() {
                    let mut round: Vec<usize> = (0..members.len()).collect();
                    random.shuffle(&mut round);
                    for class in round.into_iter().take(count - order.len()) {
                        let (members, taken) = (&mut members[class], &mut taken[class]);
                        if *taken % members.len() == 0 {
                            random.shuffle(members);
                        }
                        order.push(members[*taken % members.len()]);
                        *taken += 1;
                    }
                }
                random.shuffle(&mut order);
                order
            }
        }
    }
}

/// The weight of each class in a loss: inverse to its number of pictures, and 1 on average over the
/// pictures, `n / (k * n_c)` with `n` labelled pictures and `k` classes that have any. A class
/// without pictures weighs 0.
pub fn class_weights(dataset: &Dataset) -> Vec<f32> {
    let counts = dataset.counts();
    let pictures: usize = counts.iter().sum();
    let classes = counts.iter().filter(|&&count| count > 0).count();
    counts
        .into_iter()
        .map(|count| match count {
            0 => 0.0,
            _ => (pictures as f64 / (classes as f64 * count as f64)) as f32,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::dataset::{Item, Source};

    /// `counts[c]` pictures of class `c`.
    fn dataset(counts: &[usize]) -> Dataset {
        let item = |label| Item {
            source: Source::File(PathBuf::new()),
            label: Some(label),
            split: None,
            group: None,
        };
        let items = counts.iter().enumerate();
        Dataset {
            classes: counts.iter().enumerate().map(|(class, _)| class.to_string()).collect(),
            items: items.flat_map(|(label, &count)| vec![item(label); count]).collect(),
            skipped: Vec::new(),
        }
    }

    #[test]
    fn a_shuffled_epoch_shows_each_picture_once() {
        let dataset = dataset(&[30, 20]);
        let first = Order::Shuffled.epoch(&dataset, 1, 0);
        assert_ne!(first, Order::Shuffled.epoch(&dataset, 1, 1));
        assert_ne!(first, Order::Shuffled.epoch(&dataset, 2, 0));
        assert_eq!(first, Order::Shuffled.epoch(&dataset, 1, 0));
        let mut sorted = first;
        sorted.sort_unstable();
        assert_eq!(sorted, Order::Sequential.epoch(&dataset, 1, 0));
    }

    #[test]
    fn a_balanced_epoch_shows_each_class_equally_often() {
        let dataset = dataset(&[90, 10, 0, 1]);
        let order = Order::Balanced.epoch(&dataset, 3, 5);
        assert_eq!(order.len(), 101);
        let mut shown = [0; 4];
        let mut times = vec![0; 101];
        for &index in &order {
            shown[dataset.items[index].label.unwrap()] += 1;
            times[index] += 1;
        }
        assert!([shown[0], shown[1], shown[3]].iter().all(|&n| n == 33 || n == 34), "{shown:?}");
        // Of the class of ten each is shown three or four times, of the large one none twice.
        assert!(times[90..100].iter().all(|&n| n == 3 || n == 4), "{times:?}");
        assert!(times[..90].iter().all(|&n| n <= 1));
    }

    #[test]
    fn class_weights_are_inverse_counts() {
        assert_eq!(class_weights(&dataset(&[6, 3, 0])), [0.75, 1.5, 0.0]);
    }
}
