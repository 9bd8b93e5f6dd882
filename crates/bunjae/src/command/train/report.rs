//! What is said of a run.

use std::path::Path;

use bunjae_train::Trained;
use bunjae_train::log::EpochRecord;
use serde::Serialize;

use crate::command::train::options::Options;
use crate::failure::Fallible;
use crate::model;
use crate::number::{bytes, percent};
use crate::output::Report;
use crate::page::{Align, Page, Table};

#[derive(Serialize)]
pub(super) struct TrainReport {
    model: String,
    output: String,
    file_bytes: u64,
    data: String,
    data_sha256: String,
    settings: String,
    work: String,
    /// The epoch of the model, from 1.
    best_epoch: u64,
    stopped_early: bool,
    /// Of epochs after the first, with decoding and augmentation, without validation.
    pictures_per_second: Option<f64>,
    /// All, also those before a run was resumed.
    epochs: Vec<EpochRecord>,
}

impl TrainReport {
    pub(super) fn new(
        options: &Options,
        settings: String,
        trained: &Trained,
        pictures_per_second: Option<f64>,
        work: &Path,
        data_sha256: String,
    ) -> Fallible<TrainReport> {
        Ok(TrainReport {
            model: options.model.display().to_string(),
            output: options.output.display().to_string(),
            file_bytes: model::file_bytes(&options.output)?,
            data: options.data.display().to_string(),
            data_sha256,
            settings,
            work: work.display().to_string(),
            best_epoch: trained.best_epoch + 1,
            stopped_early: trained.stopped_early,
            pictures_per_second,
            epochs: trained.epochs.clone(),
        })
    }
}

impl TrainReport {
    fn speed(&self) -> String {
        let rate = self.pictures_per_second;
        rate.map_or("-".to_string(), |rate| format!("{rate:.1} pictures/s after the first epoch"))
    }
}

impl Report for TrainReport {
    const COMMAND: &'static str = "train";

    fn write(&self, page: &mut Page) {
        let early = if self.stopped_early { ", ended early" } else { "" };
        page.fields([
            ("model", self.model.clone()),
            ("data", self.data.clone()),
            ("written", format!("{}, {}", self.output, bytes(self.file_bytes))),
            ("run", self.work.clone()),
            ("best epoch", format!("{}{early}", self.best_epoch)),
            ("speed", self.speed()),
        ]);
        page.gap();
        let mut table = Table::new([
            ("epoch", Align::Right),
            ("training loss", Align::Right),
            ("loss", Align::Right),
            ("accuracy", Align::Right),
            ("macro F1", Align::Right),
        ]);
        for record in &self.epochs {
            let share = |value: Option<f64>| value.map_or("-".to_string(), percent);
            table.row([
                (record.epoch + 1).to_string(),
                format!("{:.4}", record.train_loss),
                record.loss.map_or("-".to_string(), |loss| format!("{loss:.4}")),
                share(record.accuracy),
                share(record.macro_f1),
            ]);
        }
        page.table(&table);
    }
}
