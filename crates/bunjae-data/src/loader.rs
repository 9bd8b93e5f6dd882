//! Batches, made ahead of whoever uses them.
//!
//! Each worker thread makes whole batches; batches come out in order, and at most a few wait. What is
//! in a batch depends on the seed, the epoch and the pictures, never on the workers.

use std::collections::BTreeMap;
use std::num::NonZero;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use bunjae_tensor::{DType, Tensor};

use crate::augment::{Augment, Mix, random_for};
use crate::decode::panic_text;
use crate::error::DataError;
use crate::pictures::{Keep, Pictures};
use crate::preprocess::Layout;
use crate::sampler::Order;

/// How batches are made.
#[derive(Clone, Debug, PartialEq)]
pub struct Loading {
    /// Pictures in a batch.
    pub batch: usize,
    /// Leaves out a last batch that is not full.
    pub drop_last: bool,
    /// Which pictures an epoch shows.
    pub order: Order,
    /// What is done to each picture.
    pub augment: Option<Augment>,
    /// What is done to each batch.
    pub mix: Option<Mix>,
    /// What everything random follows from.
    pub seed: u64,
    /// Threads that decode and augment; 0 for as many as the machine runs at once.
    pub workers: usize,
    /// Batches that may wait, made but not used, on top of those in the making.
    pub ahead: usize,
}

impl Loading {
    /// Every picture in order, unchanged: for evaluation.
    pub fn plain(batch: usize) -> Loading {
        Loading {
            batch,
            drop_last: false,
            order: Order::Sequential,
            augment: None,
            mix: None,
            seed: 0,
            workers: 1,
            ahead: 2,
        }
    }

    fn check(&self, pictures: &Pictures) -> Result<(), DataError> {
        if self.batch == 0 {
            return Err(DataError::setting("batch", "no pictures in a batch"));
        }
        let count = pictures.dataset().items.len();
        if self.drop_last && (1..self.batch).contains(&count) {
            let what = format!("{count} pictures fill no batch of {}", self.batch);
            return Err(DataError::setting("batch", what));
        }
        if let Some(augment) = &self.augment {
            augment.check()?;
        }
        if let Some(mix) = &self.mix {
            mix.check()?;
            if pictures.reading().preprocess.layout != Layout::Chw {
                return Err(DataError::setting("layout", "pictures are mixed plane by plane"));
            }
        }
        let crops = self.augment.as_ref().is_some_and(|augment| augment.crop.is_some());
        if pictures.reading().keep != Keep::Fitted && !crops {
            // They would be resized twice, and no longer be what the network sees in use.
            return Err(DataError::setting("keep", "whole pictures are for random crops alone"));
        }
        Ok(())
    }
}

/// Some pictures as a network takes them.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    /// f32 `[n, channels, height, width]`.
    pub inputs: Tensor,
    /// f32 `[n, classes]`: the share of each class; a row of zeros where there is no label.
    pub targets: Tensor,
    /// The class of each picture, before any mixing.
    pub labels: Vec<Option<usize>>,
    /// Which pictures they are, as indices into the data set.
    pub items: Vec<usize>,
    /// The epoch.
    pub epoch: u64,
    /// The batch's place in it.
    pub index: usize,
}

/// Batches of [`Pictures`], as an iterator. Dropping it ends the threads.
pub struct Batches {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
}

struct Shared {
    pictures: Arc<Pictures>,
    loading: Loading,
    /// The epoch and the place in it of the first batch.
    start: (u64, u64),
    /// The batches of an epoch, and in all.
    per_epoch: u64,
    total: u64,
    state: Mutex<State>,
    /// Something was made, or a worker ended.
    made: Condvar,
    /// There is room for more, or it is over.
    room: Condvar,
}

#[derive(Default)]
struct State {
    /// The next batch that nobody makes yet.
    next: u64,
    /// The next batch that comes out.
    out: u64,
    ready: BTreeMap<u64, Result<Batch, DataError>>,
    over: bool,
    /// The order of the epochs in use: those of the workers at work differ by one at most.
    orders: BTreeMap<u64, Arc<Vec<usize>>>,
}

impl Batches {
    /// The batches of some epochs, without the first `skip`: where a training run was stopped it
    /// goes on as if it had not been.
    ///
    /// # Errors
    /// [`DataError::Setting`].
    pub fn new(
        pictures: Arc<Pictures>,
        loading: Loading,
        epochs: Range<u64>,
        skip: usize,
    ) -> Result<Batches, DataError> {
        loading.check(&pictures)?;
        let count = pictures.dataset().items.len();
        let full = count / loading.batch;
        let rest = usize::from(!loading.drop_last && !count.is_multiple_of(loading.batch));
        let per_epoch = (full + rest) as u64;
        let all = per_epoch.saturating_mul(epochs.end.saturating_sub(epochs.start));
        let threads = match loading.workers {
            0 => std::thread::available_parallelism().map_or(1, NonZero::get),
            workers => workers,
        };
        let shared = Arc::new(Shared {
            pictures,
            loading,
            start: (epochs.start, skip as u64),
            per_epoch,
            total: all.saturating_sub(skip as u64),
            state: Mutex::default(),
            made: Condvar::new(),
            room: Condvar::new(),
        });
        let threads = threads.min(usize::try_from(shared.total).unwrap_or(usize::MAX));
        let spawn = |_| {
            let shared = Arc::clone(&shared);
            std::thread::spawn(move || shared.work(threads))
        };
        let workers = (0..threads).map(spawn).collect();
        Ok(Batches { shared, workers })
    }

    /// Batches in an epoch.
    pub fn per_epoch(&self) -> usize {
        self.shared.per_epoch as usize
    }
}

impl Iterator for Batches {
    type Item = Result<Batch, DataError>;

    /// Waits for the next batch. After an error there are no more.
    fn next(&mut self) -> Option<Self::Item> {
        let shared = &*self.shared;
        let mut state = shared.lock();
        loop {
            if state.over || state.out >= shared.total {
                return None;
            }
            let wanted = state.out;
            if let Some(result) = state.ready.remove(&wanted) {
                state.out += 1;
                state.over = result.is_err();
                drop(state);
                shared.room.notify_all();
                return Some(result);
            }
            state = shared.made.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Drop for Batches {
    fn drop(&mut self) {
        self.shared.lock().over = true;
        self.shared.room.notify_all();
        for worker in self.workers.drain(..) {
            // A panic inside a batch was caught and handed on; there is nothing else to learn.
            drop(worker.join());
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes batches until there are none left to make.
    fn work(&self, threads: usize) {
        loop {
            let mut state = self.lock();
            let limit = (threads + self.loading.ahead) as u64;
            while !state.over && state.next < self.total && state.next >= state.out + limit {
                state = self.room.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            if state.over || state.next >= self.total {
                return;
            }
            let number = state.next;
            state.next += 1;
            drop(state);
            let result = catch_unwind(AssertUnwindSafe(|| self.make(number)))
                .unwrap_or_else(|panic| Err(DataError::Worker(panic_text(panic.as_ref()))));
            self.lock().ready.insert(number, result);
            self.made.notify_all();
        }
    }

    fn make(&self, number: u64) -> Result<Batch, DataError> {
        let (first_epoch, skip) = self.start;
        let place = number.saturating_add(skip);
        let epoch = first_epoch + place / self.per_epoch.max(1);
        let index = (place % self.per_epoch.max(1)) as usize;
        let order = self.order(epoch);
        let start = index * self.loading.batch;
        let items: Vec<usize> =
            order.iter().skip(start).take(self.loading.batch).copied().collect();

        let preprocess = &self.pictures.reading().preprocess;
        let dataset = self.pictures.dataset();
        let shape = preprocess.shape();
        let [channels, height, width] = shape;
        let mut inputs = Tensor::zeros(DType::F32, &[items.len(), channels, height, width])?;
        let values = inputs.elements_mut::<f32>()?;
        for (&item, values) in items.iter().zip(values.chunks_exact_mut(channels * height * width))
        {
            let mut picture = self.pictures.get(item)?;
            if let Some(augment) = &self.loading.augment {
                let mut random = random_for(self.loading.seed, epoch, item as u64);
                picture = augment.apply(picture, preprocess, &mut random);
            }
            preprocess.write(&picture, values);
        }

        let labels: Vec<Option<usize>> =
            items.iter().map(|&item| dataset.items.get(item).and_then(|item| item.label)).collect();
        let classes = dataset.classes.len();
        let mut targets = Tensor::zeros(DType::F32, &[items.len(), classes])?;
        let shares = targets.elements_mut::<f32>()?;
        for (row, label) in labels.iter().enumerate() {
            if let Some(label) = label {
                shares[row * classes + label] = 1.0;
            }
        }
        if let Some(mix) = &self.loading.mix {
            // Batches are numbered from the far end, where no picture's index is.
            let mut random = random_for(self.loading.seed, epoch, u64::MAX - 1 - index as u64);
            mix.apply(inputs.elements_mut()?, shape, shares, classes, &mut random);
        }
        Ok(Batch { inputs, targets, labels, items, epoch, index })
    }

    fn order(&self, epoch: u64) -> Arc<Vec<usize>> {
        if let Some(order) = self.lock().orders.get(&epoch) {
            return Arc::clone(order);
        }
        let order = self.loading.order.epoch(self.pictures.dataset(), self.loading.seed, epoch);
        let order = Arc::new(order);
        let mut state = self.lock();
        state.orders.retain(|&known, _| known + 1 >= epoch);
        state.orders.insert(epoch, Arc::clone(&order));
        order
    }
}
