//! Networks that find faces: which kind a graph is, how a picture becomes its input, and how its
//! outputs become boxes.
//!
//! The kind is seen from the ports of the graph; their names are part of what the authors of these
//! networks publish. A graph with other ports is refused by name rather than guessed at.

mod ultraface;
mod yunet;

use std::sync::Arc;

use bunjae_data::{Channels, Filter, Picture, Preprocess, resize};
use bunjae_engine::{CompileError, Input, Network, Output, Port, RunError, Session};
use bunjae_ir::{Bindings, Dim, DimExpr, Graph};
use bunjae_tensor::DType;
use thiserror::Error;

use crate::detection::{DetectError, Detection, Detector, Rect, sort};
use crate::suppress::{Among, suppress};

/// The longest side that an open input may be given; a plan and its memory grow with it.
const MAX_SIDE: usize = 4096;

/// What counts as found, and how pictures are given to a network.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NetworkSettings {
    /// The least score of what is found, 0 to 1.
    pub score: f32,
    /// Boxes that overlap by more (IoU, 0 to 1) mean the same thing, and the better one stays.
    pub overlap: f32,
    /// The longer side, in pixels, that pictures are brought to where the network takes any size:
    /// larger finds smaller faces and takes longer. Where the network's input has one size, that
    /// counts.
    pub longer_side: usize,
    /// The most detections on a picture.
    pub limit: usize,
}

impl Default for NetworkSettings {
    /// A score of 0.5, at which YuNet finds most faces of 24 pixels and few things that are none.
    fn default() -> Self {
        NetworkSettings { score: 0.5, overlap: 0.3, longer_side: 640, limit: 1000 }
    }
}

/// Why a network is no detector that can be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum NetworkError {
    /// The graph has other inputs and outputs than any known detector.
    #[error(
        "not a known detector: {found}; known are YuNet (cls_8 to kps_32) and UltraFace (scores, \
         boxes)"
    )]
    Unknown {
        /// Its ports.
        found: String,
    },
    /// A port of a known detector with another type or shape.
    #[error("{kind}: {port} is {found}, where {expected}")]
    Port {
        /// The kind of detector.
        kind: &'static str,
        /// The port's name.
        port: String,
        /// Its type and shape.
        found: String,
        /// What the kind has there.
        expected: String,
    },
    /// A setting without meaning.
    #[error("{what}")]
    Setting {
        /// The setting and its value.
        what: String,
    },
    /// The engine cannot plan it.
    #[error(transparent)]
    Compile(#[from] CompileError),
    /// The engine cannot run it.
    #[error(transparent)]
    Run(#[from] RunError),
}

/// The detectors whose outputs can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    YuNet,
    UltraFace {
        /// Whether the graph computes boxes itself, or leaves that to whoever runs it.
        decoded: bool,
    },
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::YuNet => "YuNet",
            Kind::UltraFace { .. } => "UltraFace",
        }
    }

    fn of(graph: &Graph) -> Result<Kind, NetworkError> {
        let outputs: Vec<&str> = graph.outputs().iter().map(|output| &*output.name).collect();
        let has = |names: &[String]| {
            names.len() == outputs.len() && names.iter().all(|name| outputs.contains(&&**name))
        };
        let one = graph.inputs().len() == 1;
        if one && has(&yunet::outputs()) {
            return Ok(Kind::YuNet);
        }
        if one && has(&ultraface::OUTPUTS.map(str::to_owned)) {
            // Boxes come from offsets through an exponential.
            let decoded = graph.nodes().iter().any(|node| node.op.name() == "exp");
            return Ok(Kind::UltraFace { decoded });
        }
        let inputs: Vec<String> = graph.inputs().iter().map(|&id| graph.label(id)).collect();
        let found = format!("inputs {}, outputs {}", listed(&inputs), listed(&outputs));
        Err(NetworkError::Unknown { found })
    }
}

/// The first few of many names.
fn listed<T: AsRef<str>>(names: &[T]) -> String {
    const SHOWN: usize = 6;
    let mut text =
        names.iter().take(SHOWN).map(|name| name.as_ref()).collect::<Vec<_>>().join(", ");
    if names.len() > SHOWN {
        text += &format!(" and {} more", names.len() - SHOWN);
    }
    text
}

/// A network that finds faces, compiled.
pub struct NetworkDetector {
    network: Arc<Network>,
    kind: Kind,
    settings: NetworkSettings,
    threads: usize,
    /// Height and width of the input, where they are not open.
    fixed: [Option<usize>; 2],
    /// For the size used last.
    running: Option<Running>,
}

/// A session for one size of input.
struct Running {
    session: Session,
    preprocess: Preprocess,
    input: Vec<f32>,
    /// In the order of the kind's names.
    outputs: Vec<Vec<f32>>,
    /// Where each of the model's outputs stands in that order.
    order: Vec<usize>,
    /// For UltraFace whose boxes are not decoded.
    priors: Vec<Rect>,
}

/// A picture in a network's input.
struct Fitted {
    canvas: Picture,
    /// Pixels of the input for one of the picture, across and down.
    scale: [f32; 2],
}

impl NetworkDetector {
    /// A detector that runs on so many threads.
    ///
    /// # Errors
    /// [`NetworkError`].
    pub fn new(
        network: Arc<Network>,
        settings: NetworkSettings,
        threads: usize,
    ) -> Result<NetworkDetector, NetworkError> {
        let kind = Kind::of(network.graph())?;
        for (what, share) in [("score", settings.score), ("overlap", settings.overlap)] {
            if !(0.0..=1.0).contains(&share) {
                let what = format!("a least {what} of {share} is no share from 0 to 1");
                return Err(NetworkError::Setting { what });
            }
        }
        if !(32..=MAX_SIDE).contains(&settings.longer_side) {
            let what = format!(
                "a longer side of {} pixels is not between 32 and {MAX_SIDE}",
                settings.longer_side
            );
            return Err(NetworkError::Setting { what });
        }
        let fixed = fixed_sides(network.graph(), kind)?;
        let threads = threads.max(1);
        let mut detector =
            NetworkDetector { network, kind, settings, threads, fixed, running: None };
        // What is wrong with the outputs is better said now than at the first picture.
        let [height, width] = fixed.map(|side| side.unwrap_or(64));
        detector.running = Some(detector.run_at(width, height)?);
        Ok(detector)
    }

    /// How it looks.
    pub fn settings(&self) -> &NetworkSettings {
        &self.settings
    }

    /// The picture's input for the network and its outputs, by name, as they are before decoding:
    /// for whoever compares them with another runtime.
    ///
    /// # Errors
    /// [`DetectError`].
    pub fn raw(&mut self, picture: &Picture) -> Result<Raw, DetectError> {
        self.forward(picture)?;
        let names = match self.kind {
            Kind::YuNet => yunet::outputs(),
            Kind::UltraFace { .. } => ultraface::OUTPUTS.map(str::to_owned).to_vec(),
        };
        let Some(running) = &self.running else { return Ok(Raw::default()) };
        let [height, width] = [running.preprocess.height, running.preprocess.width];
        let outputs = names.into_iter().zip(running.outputs.clone()).collect();
        Ok(Raw { input: running.input.clone(), shape: [1, 3, height, width], outputs })
    }

    /// A session for an input of this size.
    fn run_at(&self, width: usize, height: usize) -> Result<Running, NetworkError> {
        let graph = self.network.graph();
        let mut sizes = Bindings::new();
        let dims = graph.inputs().first().map(|&id| &*graph.ty(id).dims).unwrap_or_default();
        for (dim, size) in dims.iter().zip([1, 3, height, width]) {
            if let Dim::Dynamic(expression) = dim
                && let DimExpr::Symbol(name) = &**expression
            {
                sizes.insert(name.to_string(), size);
            }
        }
        let model = self.network.model_for(&sizes)?;
        let (names, lengths) = match self.kind {
            Kind::YuNet => (yunet::outputs(), yunet::lengths(width, height)),
            Kind::UltraFace { .. } => (ultraface::OUTPUTS.map(str::to_owned).to_vec(), Vec::new()),
        };
        let mut outputs = vec![Vec::new(); names.len()];
        let mut order = Vec::with_capacity(names.len());
        for port in model.outputs() {
            let place = names.iter().position(|name| *name == port.name);
            let Some(place) = place else { return Err(self.wrong(port, "no such port is known")) };
            if port.dtype != DType::F32 {
                return Err(self.wrong(port, "f32 is read"));
            }
            if let Some(&length) = lengths.get(place)
                && port.elements() != length
            {
                return Err(self.wrong(port, &format!("{length} numbers are read")));
            }
            outputs[place] = vec![0.0; port.elements()];
            order.push(place);
        }
        let mut priors = Vec::new();
        if let Kind::UltraFace { decoded } = self.kind {
            let ports = model.outputs();
            let find = |name| ports.iter().find(|port| port.name == name);
            if let (Some(scores), Some(boxes)) = (find("scores"), find("boxes")) {
                let count = boxes.elements() / 4;
                let classes = scores.shape.last().copied().unwrap_or(0);
                if boxes.shape.last() != Some(&4) {
                    return Err(self.wrong(boxes, "four numbers a box are read"));
                }
                if !(2..=3).contains(&classes) || scores.elements() != count * classes {
                    let what = format!("two or three scores for each of {count} boxes are read");
                    return Err(self.wrong(scores, &what));
                }
                if !decoded {
                    priors = ultraface::priors(width, height);
                    if priors.len() != count {
                        let what =
                            format!("an input of {width} x {height} has {} boxes", priors.len());
                        return Err(self.wrong(boxes, &what));
                    }
                }
            }
        }
        let preprocess = match self.kind {
            Kind::YuNet => yunet::preprocess(width, height),
            Kind::UltraFace { .. } => ultraface::preprocess(width, height),
        };
        let session = Session::with_threads(model, self.threads)?;
        let input = vec![0.0; 3 * width * height];
        Ok(Running { session, preprocess, input, outputs, order, priors })
    }

    fn wrong(&self, port: &Port, expected: &str) -> NetworkError {
        NetworkError::Port {
            kind: self.kind.name(),
            port: port.name.clone(),
            found: format!("{}{:?}", port.dtype, port.shape),
            expected: expected.to_owned(),
        }
    }

    /// Brings a picture to the size of the input, or to one that suits an open input.
    fn fit(&self, picture: &Picture) -> Fitted {
        let rgb = picture.clone().into_channels(Channels::Rgb);
        let (width, height) = (picture.width(), picture.height());
        let [fixed_height, fixed_width] = self.fixed;
        match self.kind {
            Kind::YuNet => {
                // In proportion, at the upper left, on black.
                let side = self.settings.longer_side;
                let (across, down) = (fixed_width.unwrap_or(side), fixed_height.unwrap_or(side));
                let share = (across as f64 / width as f64).min(down as f64 / height as f64);
                let fitted = |side: usize, most: usize| {
                    ((side as f64 * share).round() as usize).clamp(1, most)
                };
                let (columns, rows) = (fitted(width, across), fitted(height, down));
                let whole = |fixed: Option<usize>, side: usize| {
                    fixed.unwrap_or(side.next_multiple_of(yunet::MULTIPLE))
                };
                let part = resized(rgb, columns, rows);
                let canvas = padded(part, whole(fixed_width, columns), whole(fixed_height, rows));
                let scale = [columns as f32 / width as f32, rows as f32 / height as f32];
                Fitted { canvas, scale }
            }
            Kind::UltraFace { .. } => {
                // Stretched, as the network's authors do it.
                let columns = fixed_width.unwrap_or(ultraface::SIDES[0]);
                let rows = fixed_height.unwrap_or(ultraface::SIDES[1]);
                let scale = [columns as f32 / width as f32, rows as f32 / height as f32];
                Fitted { canvas: resized(rgb, columns, rows), scale }
            }
        }
    }

    /// Runs the network on a picture and leaves its outputs in place.
    fn forward(&mut self, picture: &Picture) -> Result<Fitted, DetectError> {
        let fitted = self.fit(picture);
        let (width, height) = (fitted.canvas.width(), fitted.canvas.height());
        let suits = |running: &Running| {
            (running.preprocess.width, running.preprocess.height) == (width, height)
        };
        if !self.running.as_ref().is_some_and(suits) {
            // The old one's memory is free before the new one's is taken.
            self.running = None;
            self.running = Some(self.run_at(width, height)?);
        }
        let Some(running) = &mut self.running else { return Ok(fitted) };
        running.preprocess.write(&fitted.canvas, &mut running.input);
        let mut slots: Vec<Option<&mut Vec<f32>>> = running.outputs.iter_mut().map(Some).collect();
        let mut outputs: Vec<Output<'_>> = running
            .order
            .iter()
            .filter_map(|&place| slots.get_mut(place)?.take())
            .map(|values| Output::from(values.as_mut_slice()))
            .collect();
        let inputs = [Input::from(running.input.as_slice())];
        running.session.run(&inputs, &mut outputs).map_err(NetworkError::from)?;
        Ok(fitted)
    }
}

/// What went into a network and what came out.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Raw {
    /// The input, in the order of `shape`.
    pub input: Vec<f32>,
    /// Batch, channels, height, width.
    pub shape: [usize; 4],
    /// The outputs by name.
    pub outputs: Vec<(String, Vec<f32>)>,
}

/// Height and width of the input, where they are fixed.
fn fixed_sides(graph: &Graph, kind: Kind) -> Result<[Option<usize>; 2], NetworkError> {
    let port = |expected: &str| {
        let id = graph.inputs().first();
        NetworkError::Port {
            kind: kind.name(),
            port: id.map(|&id| graph.label(id)).unwrap_or_default(),
            found: id.map(|&id| graph.ty(id).to_string()).unwrap_or_default(),
            expected: expected.to_owned(),
        }
    };
    let Some(&id) = graph.inputs().first() else { return Err(port("one input is read")) };
    let ty = graph.ty(id);
    let expected = "f32[1, 3, height, width] is given";
    let [batch, channels, height, width] = &*ty.dims else { return Err(port(expected)) };
    let is = |dim: &Dim, size| dim.fixed().is_none_or(|fixed| fixed == size);
    if ty.dtype != DType::F32 || !is(batch, 1) || !is(channels, 3) {
        return Err(port(expected));
    }
    let sides = [height, width].map(Dim::fixed);
    if sides.iter().flatten().any(|side| !(1..=MAX_SIDE).contains(side)) {
        return Err(port(&format!("sides are at most {MAX_SIDE}")));
    }
    let uneven = |side: &usize| !side.is_multiple_of(yunet::MULTIPLE);
    if kind == Kind::YuNet && sides.iter().flatten().any(uneven) {
        return Err(port(&format!("sides are multiples of {}", yunet::MULTIPLE)));
    }
    Ok(sides)
}

fn resized(picture: Picture, width: usize, height: usize) -> Picture {
    match (picture.width(), picture.height()) == (width, height) {
        true => picture,
        false => resize(&picture, width, height, Filter::Bilinear),
    }
}

/// The picture at the upper left of a black one.
fn padded(picture: Picture, width: usize, height: usize) -> Picture {
    if (picture.width(), picture.height()) == (width, height) {
        return picture;
    }
    let mut canvas = Picture::filled(width, height, picture.channels(), [0; 3]);
    let stride = canvas.stride();
    for (row, source) in canvas.samples_mut().chunks_exact_mut(stride).zip(picture.rows()) {
        row[..source.len()].copy_from_slice(source);
    }
    canvas
}

impl Detector for NetworkDetector {
    fn detect(&mut self, picture: &Picture) -> Result<Vec<Detection>, DetectError> {
        let Fitted { scale, .. } = self.forward(picture)?;
        let Some(running) = &self.running else { return Ok(Vec::new()) };
        let sides = [running.preprocess.width, running.preprocess.height];
        let found = match self.kind {
            Kind::YuNet => yunet::decode(&running.outputs, sides, self.settings.score),
            Kind::UltraFace { .. } => {
                ultraface::decode(&running.outputs, &running.priors, sides, self.settings.score)
            }
        };
        let NetworkSettings { overlap, limit, .. } = self.settings;
        let mut kept = suppress(found, overlap, limit, Among::All);
        for found in &mut kept {
            let area = &mut found.area;
            area.left /= scale[0];
            area.top /= scale[1];
            area.width /= scale[0];
            area.height /= scale[1];
            for mark in found.landmarks.iter_mut().flatten() {
                mark.x /= scale[0];
                mark.y /= scale[1];
            }
        }
        sort(&mut kept);
        Ok(kept)
    }

    fn name(&self) -> String {
        let kind = self.kind.name();
        match self.fixed {
            [Some(height), Some(width)] => format!("{kind}, pictures of {width} x {height}"),
            _ => format!("{kind}, longer side {}", self.settings.longer_side),
        }
    }

    fn classes(&self) -> &'static [&'static str] {
        match self.kind {
            Kind::YuNet => &["face"],
            Kind::UltraFace { .. } => match &self.running {
                Some(running) => ultraface::classes(&running.outputs),
                None => &["face"],
            },
        }
    }
}

impl From<NetworkError> for DetectError {
    fn from(error: NetworkError) -> DetectError {
        DetectError::Network(Box::new(error))
    }
}
