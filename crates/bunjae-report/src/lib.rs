//! What was run and what came of it, as records and as pages.
//!
//! Owns the records of results ([`Report`] and what it holds), the measures by which models are
//! compared ([`Measure`]), how several seeds come to one figure (`summary`), which models are worth
//! choosing ([`pareto`]), and the forms in which people and programs read it: [`text`] for a
//! terminal, [`markdown`] for a page, [`html`] for a browser, [`json`] with a schema.
//!
//! Whoever runs something fills a [`Report`] with what it measured and nothing else. What was not
//! measured stays `None` or empty, and every form shows it as missing. The first of
//! [`Report::models`] is the base that the others are held against.
//!
//! ```
//! use bunjae_report::{Cost, Model, Report, Run};
//!
//! let cost = |parameters| Cost { parameters, ..Cost::default() };
//! let run = |parameters| Run { cost: Some(cost(parameters)), ..Run::default() };
//! let mut report = Report::new("two networks");
//! report.models.push(Model::new("base", vec![run(93_954)]));
//! report.models.push(Model::new("small", vec![run(6_210)]));
//! assert!(bunjae_report::text(&report).contains("-93.4 %"));
//! assert!(bunjae_report::markdown(&report).contains("6,210"));
//! ```
//!
//! Never here: measuring, reading of models and pictures, writing of files, printing.
#![forbid(unsafe_code)]

mod chart;
mod error;
mod form;
mod measure;
mod number;
pub mod pareto;
mod record;
mod summary;

pub use error::ReportError;
pub use form::{html, json, markdown, picture, text};
pub use measure::{Better, Change, Group, Measure};
pub use record::{
    ClassQuality, Cost, DataSet, Environment, Epoch, Layer, Model, ModelFile, Protocol, Quality,
    Report, Run, SCHEMA_VERSION, Step, Timing, Training,
};
pub use summary::{Figure, Summary, summaries};
