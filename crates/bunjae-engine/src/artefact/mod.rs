//! A compiled network as bytes: what `docs/reference/artefact.md` describes, written and read.
//!
//! A header, then four sections: the graph as text, the plan as text, the weights of the graph, the
//! packed weights. The last two are used where they lie. Packed weights are good for the instruction
//! set and the version of the engine that packed them; for any other they are left aside, and packed
//! again from the weights of the graph. So a stored network loads everywhere.
//!
//! Nothing is believed: bytes are within limits before anything is allocated, and a graph passes the
//! verifier. Whether packed weights are there, and as long as a kernel wants, is asked when it is planned,
//! which a network is when it is loaded.

mod error;
mod plan;

use std::collections::BTreeMap;

use bunjae_ir::Graph;
use bunjae_kernels::{ConvForm, Isa};
use bunjae_tensor::{DType, SharedBytes, Tensor, TensorError};

pub use error::{ArtefactError, OpenError, OpenProblem};
pub(crate) use plan::Stored;

use crate::compile::store::Choice;

/// The first bytes. That of the first bit set keeps it from being taken for text, and the line end
/// shows whether a transfer changed it.
const MAGIC: &[u8; 8] = b"\x89BNJAE\r\n";

/// The version of the format. Any change to what is written, or to what it means, is another.
const FORMAT: u32 = 2;

/// Bytes of the header.
const HEADER: usize = 128;

/// Sections, and weights in them, begin at multiples of this many bytes.
const ALIGN: usize = 64;

/// Reads the same in both byte orders only where they are the same.
const BYTE_ORDER: u32 = 0x0102_0304;

/// The bytes from here on are covered by the checksum, which stands before.
const COVERED: usize = 12;

/// The engine that writes, and whose packed weights are used.
const ENGINE: &str = env!("CARGO_PKG_VERSION");

/// Where things stand in the header.
mod at {
    pub(super) const CHECKSUM: usize = 8;
    pub(super) const FORMAT: usize = 12;
    pub(super) const BYTE_ORDER: usize = 16;
    pub(super) const LENGTH: usize = 24;
    pub(super) const ENGINE: usize = 32;
    pub(super) const SECTIONS: usize = 64;
}

/// What is stored of a network.
pub(crate) struct Contents {
    /// The simplified graph.
    pub graph: Graph,
    /// The instruction set; `None` for one that this engine does not know.
    pub isa: Option<Isa>,
    pub threads: usize,
    pub compact: bool,
    pub choices: BTreeMap<Choice, ConvForm>,
    pub packed: BTreeMap<String, Tensor>,
}

/// A section being filled with tensors.
#[derive(Default)]
struct Tensors(Vec<u8>);

impl Tensors {
    /// Adds a tensor and returns where it begins.
    fn add(&mut self, tensor: &Tensor) -> u64 {
        let start = self.0.len().next_multiple_of(ALIGN);
        self.0.resize(start, 0);
        self.0.extend_from_slice(tensor.bytes());
        start as u64
    }
}

/// The bytes of a network.
pub(crate) fn write(
    graph: &Graph,
    stored: &Stored<'_>,
    packed: &BTreeMap<String, Tensor>,
) -> Vec<u8> {
    let (mut weights, mut packings) = (Tensors::default(), Tensors::default());
    let text = graph.to_text_apart(|tensor| weights.add(tensor));
    let places = packed.iter().map(|(key, tensor)| (key, packings.add(tensor), tensor.len()));
    let plan = plan::write(stored, places);
    let mut bytes = vec![0; HEADER];
    let sections = [text.as_bytes(), plan.as_bytes(), &weights.0, &packings.0];
    for (index, section) in sections.into_iter().enumerate() {
        bytes.resize(bytes.len().next_multiple_of(ALIGN), 0);
        bytes.extend_from_slice(section);
        put(&mut bytes, at::SECTIONS + 8 * index, &(section.len() as u64).to_le_bytes());
    }
    put(&mut bytes, 0, MAGIC);
    put(&mut bytes, at::FORMAT, &FORMAT.to_le_bytes());
    put(&mut bytes, at::BYTE_ORDER, &BYTE_ORDER.to_ne_bytes());
    let length = bytes.len() as u64;
    put(&mut bytes, at::LENGTH, &length.to_le_bytes());
    put(&mut bytes, at::ENGINE, ENGINE.as_bytes());
    let checksum = crc32fast::hash(&bytes[COVERED..]);
    put(&mut bytes, at::CHECKSUM, &checksum.to_le_bytes());
    bytes
}

fn put(bytes: &mut [u8], at: usize, field: &[u8]) {
    bytes[at..at + field.len()].copy_from_slice(field);
}

/// A field of the header, which is long enough.
fn field<const N: usize>(header: &[u8; HEADER], at: usize) -> [u8; N] {
    std::array::from_fn(|i| header[at + i])
}

/// Whether bytes begin as those of a stored network do.
pub(crate) fn is_stored(start: &[u8]) -> bool {
    start.starts_with(MAGIC)
}

/// What stands in the header, once it is known that everything is there.
struct Header {
    /// Whether this version of the engine wrote it.
    own: bool,
    /// Where the sections begin, and their lengths.
    sections: [(usize, usize); 4],
}

const SECTIONS: [&str; 4] = ["graph", "plan", "weights", "packed weights"];

fn header(bytes: &[u8]) -> Result<Header, ArtefactError> {
    let found = bytes.len() as u64;
    let Some(header) = bytes.first_chunk::<HEADER>() else {
        let begins = MAGIC.len().min(bytes.len());
        return Err(match !bytes.is_empty() && bytes[..begins] == MAGIC[..begins] {
            true => ArtefactError::Length { expected: HEADER as u64, found },
            false => ArtefactError::NotAnArtefact,
        });
    };
    if !header.starts_with(MAGIC) {
        return Err(ArtefactError::NotAnArtefact);
    }
    if u32::from_ne_bytes(field(header, at::BYTE_ORDER)) != BYTE_ORDER {
        return Err(ArtefactError::ByteOrder);
    }
    let engine = field::<32>(header, at::ENGINE);
    let engine = engine.split(|byte| *byte == 0).next().unwrap_or_default();
    let format = u32::from_le_bytes(field(header, at::FORMAT));
    if format != FORMAT {
        let engine = String::from_utf8_lossy(engine).chars().filter(|c| !c.is_control()).collect();
        return Err(ArtefactError::Version { found: format, supported: FORMAT, engine });
    }
    let expected = u64::from_le_bytes(field(header, at::LENGTH));
    if expected != found {
        return Err(ArtefactError::Length { expected, found });
    }
    let expected = u32::from_le_bytes(field(header, at::CHECKSUM));
    let found = crc32fast::hash(&bytes[COVERED..]);
    if expected != found {
        return Err(ArtefactError::Checksum { expected, found });
    }
    let mut sections = [(0, 0); 4];
    let mut end = HEADER;
    for (index, section) in SECTIONS.into_iter().enumerate() {
        let stated = u64::from_le_bytes(field(header, at::SECTIONS + 8 * index));
        let start = end.next_multiple_of(ALIGN);
        let stop = usize::try_from(stated).ok().and_then(|len| start.checked_add(len));
        let Some(stop) = stop.filter(|&stop| stop <= bytes.len()) else {
            let what = format!("{stated} bytes from {start} on, of a file of {}", bytes.len());
            return Err(ArtefactError::Section { section, what });
        };
        sections[index] = (start, stop - start);
        end = stop;
    }
    if end != bytes.len() {
        let what = format!("the sections end at byte {end} of {}", bytes.len());
        return Err(ArtefactError::Section { section: "header", what });
    }
    Ok(Header { own: engine == ENGINE.as_bytes(), sections })
}

/// Reads a network. Weights stay where the bytes are, unless these begin at an odd place.
pub(crate) fn read(bytes: SharedBytes) -> Result<Contents, ArtefactError> {
    let header = header((*bytes).as_ref())?;
    let bytes = aligned(bytes)?;
    let all = (*bytes).as_ref();
    let section = |index: usize| {
        let (start, len) = header.sections[index];
        all.get(start..start + len).unwrap_or_default()
    };
    let text = |index: usize| {
        std::str::from_utf8(section(index)).map_err(|error| ArtefactError::Section {
            section: SECTIONS[index],
            what: error.to_string(),
        })
    };
    let tensor = |index: usize, dtype: DType, shape: &[usize], place: u64| {
        let (start, len) = header.sections[index];
        let place = usize::try_from(place).unwrap_or(usize::MAX);
        let elements = bunjae_tensor::element_count(shape);
        let size = elements.and_then(|count| count.checked_mul(dtype.size()));
        let rest = len.checked_sub(place);
        if size.is_none() || rest < size {
            let (shape, found) = (shape.to_vec(), rest.unwrap_or(0) / dtype.size());
            let expected = elements.unwrap_or(usize::MAX);
            return Err(TensorError::Length { shape, expected, found });
        }
        Tensor::from_shared(dtype, shape, bytes.clone(), start + place)
    };
    let graph = Graph::parse_apart(text(0)?, |dtype, shape, place| tensor(2, dtype, shape, place))?;
    if let Err(errors) = graph.verify() {
        return Err(match errors.into_iter().next() {
            Some(error) => ArtefactError::Graph(error),
            None => ArtefactError::Section { section: "graph", what: "not sound".into() },
        });
    }
    let plan = plan::read(text(1)?)?;
    let mut packed = BTreeMap::new();
    for entry in plan.packed {
        let tensor = tensor(3, DType::F32, &[entry.elements], entry.place).map_err(|error| {
            ArtefactError::Section { section: "packed weights", what: error.to_string() }
        })?;
        // What another version packed may mean something else under the same key.
        if header.own {
            packed.insert(entry.key, tensor);
        }
    }
    Ok(Contents {
        graph,
        isa: plan.isa,
        threads: plan.threads,
        compact: plan.compact,
        choices: plan.choices,
        packed,
    })
}

/// The same bytes, at a multiple of [`ALIGN`] in memory.
fn aligned(bytes: SharedBytes) -> Result<SharedBytes, ArtefactError> {
    struct Copied(Tensor);
    impl AsRef<[u8]> for Copied {
        fn as_ref(&self) -> &[u8] {
            self.0.bytes()
        }
    }
    let all = (*bytes).as_ref();
    if (all.as_ptr() as usize).is_multiple_of(ALIGN) {
        return Ok(bytes);
    }
    let copy = Tensor::from_bytes(DType::U8, &[all.len()], all);
    let copy = copy
        .map_err(|error| ArtefactError::Section { section: "header", what: error.to_string() })?;
    Ok(std::sync::Arc::new(Copied(copy)))
}
