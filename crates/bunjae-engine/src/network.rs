//! A network: what is compiled once, and shared by all batch sizes and sessions.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bunjae_files::WriteError;
use bunjae_ir::{Bindings, Dim, DimExpr, Graph};
use bunjae_kernels::Isa;
use bunjae_tensor::SharedBytes;

use crate::artefact::{self, ArtefactError, OpenError, OpenProblem, Stored};
use crate::compile::store::Store;
use crate::compile::{self, CompileOptions, Target};
use crate::error::CompileError;
use crate::file;
use crate::runtime::Model;

/// Models kept for the sizes used last; another one is planned again when it is asked for.
const MODELS: usize = 8;

/// A network with a longer axis is not planned when it is loaded: a plan holds tables as long as
/// an axis, and whatever a file says, loading takes memory within reason.
const LONG_AXIS: usize = 1 << 20;

/// How many pictures (or other inputs) a network takes at once.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Batch {
    /// Any number of them; the first axis of the inputs is this symbol.
    Any {
        /// The symbol.
        symbol: String,
    },
    /// This many: the first axis of the first input has a fixed size.
    Fixed(usize),
    /// The first input has no axes, or its first is no single symbol.
    None,
}

/// What a stored network is loaded for.
#[derive(Clone, Copy, Debug, Default)]
pub struct LoadOptions {
    /// The instruction set; the best that this machine has, or that the environment names, where
    /// none is given. For another one than it was stored for, weights are packed anew.
    pub isa: Option<Isa>,
    /// The number of threads that a session uses unless told otherwise; that of the network where
    /// none is given.
    pub threads: Option<usize>,
}

/// A graph compiled for an instruction set, with a batch size that is left open: the simplified
/// graph, the choice of kernels, and one copy of the packed weights. A [`Model`] for each batch size
/// is planned when it is asked for.
///
/// A network is shared between threads in an [`Arc`]; each thread runs a
/// [`Session`](crate::Session) of its own on the same models.
///
/// Whatever the batch size, a convolution is computed by the same algorithm. A linear layer is not:
/// small batches and large ones sum in different orders, so their results may differ in the last
/// digits.
pub struct Network {
    graph: Graph,
    target: Target,
    state: Mutex<State>,
}

struct State {
    store: Store,
    /// The models used last, the latest at the end.
    models: Vec<(Bindings, Arc<Model>)>,
    /// Whether all that a model for the first sizes wants packed should be in the store.
    complete: bool,
}

impl Network {
    /// Compiles a graph. The sizes in the options are given to the symbols in the inputs' types;
    /// the batch may be left open.
    ///
    /// Where no other size is open either, a model is planned right away: for a batch of 1, or the
    /// fixed batch. With [`CompileOptions::tune`], kernels are chosen by measuring this one.
    ///
    /// # Errors
    /// [`CompileError`] where a size does not fit, where the instruction set cannot be used, and
    /// whatever stands against that first model.
    pub fn compile(graph: &Graph, options: &CompileOptions) -> Result<Network, CompileError> {
        let target = Target::new(options)?;
        let graph = compile::simplified(&graph.bind(&options.sizes)?)?;
        let store = compile::store(options);
        let state = State { store, models: Vec::new(), complete: false };
        let network = Network { graph, target, state: Mutex::new(state) };
        if let Some(sizes) = network.first_sizes() {
            network.model_for(&sizes)?;
        }
        Ok(network)
    }

    /// The network as bytes: the graph, the choices, the weights, and what is packed of them. Loaded
    /// with [`Network::from_bytes`], it computes the same to the last bit.
    ///
    /// Weights are packed for the models planned so far, so it is best stored after a model of each
    /// batch size that is going to be used was asked for.
    pub fn to_bytes(&self) -> Vec<u8> {
        let state = self.state();
        let stored = Stored { target: self.target, choices: state.store.choices() };
        artefact::write(&self.graph, &stored, state.store.all_packed())
    }

    /// Writes [`Network::to_bytes`] to a file. It appears whole or not at all, and replaces an old
    /// one without harm to networks that were opened from that.
    ///
    /// # Errors
    /// [`WriteError`].
    pub fn save(&self, path: &Path) -> Result<(), WriteError> {
        bunjae_files::write(path, &self.to_bytes())
    }

    /// Opens a file that [`Network::save`] wrote. It is mapped into memory, and weights are used
    /// where they lie there: they take no memory of their own, and several processes share them.
    ///
    /// Where the batch is all that is open, a model is planned right away, as when compiling, and the
    /// packed weights have to be those that it wants.
    ///
    /// The file must not be changed in place while the network is in use (it may be replaced or
    /// removed): the weights would change with it, and a file that becomes shorter ends the process.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(path: &Path, options: &LoadOptions) -> Result<Network, OpenError> {
        let open = || -> Result<Network, OpenProblem> {
            let bytes = file::map(path)?.ok_or(OpenProblem::NotAFile)?;
            Ok(Network::load(bytes, options)?)
        };
        open().map_err(|problem| OpenError { path: path.to_owned(), problem })
    }

    /// As [`Network::open`], for a network that stands in a part of a file, such as an executable
    /// that brings its model along. A part that begins at a multiple of 64 is used where it lies.
    ///
    /// # Errors
    /// [`OpenError`], also where the file is shorter.
    pub fn open_within(
        path: &Path,
        part: Range<u64>,
        options: &LoadOptions,
    ) -> Result<Network, OpenError> {
        let open = || -> Result<Network, OpenProblem> {
            let bytes = file::map(path)?.ok_or(OpenProblem::NotAFile)?;
            let found = (*bytes).as_ref().len() as u64;
            if part.end > found || part.start > part.end {
                return Err(ArtefactError::Length { expected: part.end, found }.into());
            }
            let [start, end] = [part.start, part.end].map(|place| place as usize);
            Ok(Network::load(Arc::new(Part { bytes, part: start..end }), options)?)
        };
        open().map_err(|problem| OpenError { path: path.to_owned(), problem })
    }

    /// Whether bytes begin as those of a stored network do; eight are enough to tell.
    pub fn is_stored(start: &[u8]) -> bool {
        artefact::is_stored(start)
    }

    /// Loads the bytes of a stored network, such as a `Vec<u8>`, an `Arc<[u8]>` or, from an
    /// executable that holds the model, a `&'static [u8]`. Weights are used where they lie, unless
    /// the bytes do not begin at a multiple of 64 in memory; then they are copied once.
    ///
    /// # Errors
    /// [`ArtefactError`].
    pub fn from_bytes(
        bytes: impl AsRef<[u8]> + Send + Sync + 'static,
        options: &LoadOptions,
    ) -> Result<Network, ArtefactError> {
        Network::load(Arc::new(bytes), options)
    }

    fn load(bytes: SharedBytes, options: &LoadOptions) -> Result<Network, ArtefactError> {
        let isa = compile::instruction_set(options.isa)?;
        let contents = artefact::read(bytes)?;
        let (store, complete) = match contents.isa {
            Some(stored) if stored == isa => {
                // None at all are in what another version wrote, or what was never planned.
                let complete = !contents.packed.is_empty();
                (Store::with(contents.choices, contents.packed), complete)
            }
            // Chosen and packed for another instruction set.
            _ => (Store::default(), false),
        };
        let threads = options.threads.unwrap_or(contents.threads);
        let target = Target { isa, threads, compact: contents.compact };
        let state = Mutex::new(State { store, models: Vec::new(), complete });
        let network = Network { graph: contents.graph, target, state };
        if let Some(sizes) = network.first_sizes() {
            let bound = network.graph.bind(&sizes).map_err(CompileError::from);
            let bound = bound.map_err(ArtefactError::Plan)?;
            let mut axes = bound.values().flat_map(|(_, value)| &value.ty.dims);
            if axes.all(|dim| dim.fixed().is_none_or(|len| len <= LONG_AXIS)) {
                network.model_for(&sizes).map_err(ArtefactError::Plan)?;
            }
        }
        Ok(network)
    }

    /// The model for a batch size, planned now unless it was used lately.
    ///
    /// # Errors
    /// [`CompileError::Batch`] where the batch is fixed and another one; [`CompileError`] where
    /// something stands against this size.
    pub fn model(&self, batch: usize) -> Result<Arc<Model>, CompileError> {
        match self.batch() {
            Batch::Any { symbol } => self.model_for(&Bindings::from([(symbol, batch)])),
            Batch::Fixed(expected) if expected == batch => self.model_for(&Bindings::new()),
            Batch::Fixed(_) | Batch::None => {
                let inputs = self.graph.inputs().iter();
                let inputs = inputs.map(|&id| self.graph.ty(id).to_string()).collect();
                Err(CompileError::Batch { batch, inputs })
            }
        }
    }

    /// The model for given sizes of the symbols that are open, such as `N`, `H` and `W`; others are
    /// left out of account.
    ///
    /// # Errors
    /// [`CompileError::UnknownSize`] where a symbol has no value; [`CompileError`] where something
    /// stands against these sizes.
    pub fn model_for(&self, sizes: &Bindings) -> Result<Arc<Model>, CompileError> {
        let open = self.graph.symbols();
        let mut sizes = sizes.clone();
        sizes.retain(|symbol, _| open.contains(symbol));
        let mut state = self.state();
        let State { store, models, complete } = &mut *state;
        if let Some(at) = models.iter().position(|(other, _)| *other == sizes) {
            let found = models.remove(at);
            let model = found.1.clone();
            models.push(found);
            return Ok(model);
        }
        store.expect_complete(*complete && self.first_sizes().as_ref() == Some(&sizes));
        let model = match sizes.is_empty() {
            true => compile::plan(&self.graph, self.target, store)?,
            false => compile::plan(&self.graph.bind(&sizes)?, self.target, store)?,
        };
        let model = Arc::new(model);
        if models.len() == MODELS {
            models.remove(0);
        }
        models.push((sizes, model.clone()));
        Ok(model)
    }

    /// The sizes that are tried first, where the batch is all that is open.
    fn first_sizes(&self) -> Option<Bindings> {
        let open = self.graph.symbols();
        match self.batch() {
            _ if open.is_empty() => Some(Bindings::new()),
            Batch::Any { symbol } if open == [symbol.as_str()] => {
                Some(Bindings::from([(symbol, 1)]))
            }
            _ => None,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Weights and models are added whole, so a panic leaves nothing half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The batch sizes that it takes.
    pub fn batch(&self) -> Batch {
        let first = self.graph.inputs().first().and_then(|&id| self.graph.ty(id).dims.first());
        match first {
            Some(Dim::Fixed(size)) => Batch::Fixed(*size),
            Some(Dim::Dynamic(expr)) => match &**expr {
                DimExpr::Symbol(symbol) => Batch::Any { symbol: symbol.to_string() },
                _ => Batch::None,
            },
            None => Batch::None,
        }
    }

    /// The name of the graph.
    pub fn name(&self) -> &str {
        &self.graph.name
    }

    /// Text that travels with the network, by key: labels, preprocessing and provenance stand under
    /// `bunjae.*`.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.graph.metadata
    }

    /// The simplified graph.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// The instruction set that its kernels use.
    pub fn isa(&self) -> Isa {
        self.target.isa
    }

    /// The number of threads that sessions use unless told otherwise.
    pub fn threads(&self) -> usize {
        self.target.threads.max(1)
    }

    /// Bytes of weights that had to be packed, of all models planned so far. What kernels read as
    /// it is, the graph's weights, is not counted.
    pub fn packed_bytes(&self) -> usize {
        self.state().store.packed_bytes()
    }
}

/// A part of mapped bytes, which has been checked to lie in them.
struct Part {
    bytes: SharedBytes,
    part: Range<usize>,
}

impl AsRef<[u8]> for Part {
    fn as_ref(&self) -> &[u8] {
        (*self.bytes).as_ref().get(self.part.clone()).unwrap_or_default()
    }
}

impl std::fmt::Debug for Network {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Network")
            .field("name", &self.name())
            .field("isa", &self.isa())
            .field("batch", &self.batch())
            .field("packed_bytes", &self.packed_bytes())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Session;
    use bunjae_tensor::Tensor;

    const TEXT: &str = "graph @net
meta \"bunjae.labels\" = \"a,b\"
in   %x: f32[N,4,8,8]
w    @c: f32[8,4,3,3] = rand(seed=1)
w    @b: f32[8] = rand(seed=2)
w    @p: f32[1] = [0.25]
w    @l: f32[5,8] = rand(seed=3)
w    @lb: f32[5] = rand(seed=4)
%1 = conv2d %x, @c, @b {pad=[1,1,1,1]} : f32[N,8,8,8]
%2 = prelu %1, @p : f32[N,8,8,8]
%3 = global_pool %2 : f32[N,8,1,1]
%4 = flatten %3 : f32[N,8]
%5 = linear %4, @l, @lb : f32[N,5]
out  %5 ; \"y\"
";

    fn network(text: &str) -> Network {
        Network::compile(&Graph::parse(text).unwrap(), &CompileOptions::default()).unwrap()
    }

    /// Where each weight of a model begins, and its bytes.
    fn places(model: &Model) -> Vec<(usize, usize)> {
        let places = model.weights.iter().map(Tensor::bytes);
        places.map(|bytes| (bytes.as_ptr() as usize, bytes.len())).collect()
    }

    #[test]
    fn batch_sizes_and_sessions_share_one_copy_of_the_weights() {
        let network = network(TEXT);
        let packed = network.packed_bytes();
        assert!(packed > 0);
        let [one, two, three] = [1, 2, 3].map(|batch| network.model(batch).unwrap());
        assert_eq!(places(&one), places(&two));
        assert_eq!(places(&one), places(&three));
        assert_eq!(network.packed_bytes(), packed);
        let sessions = [0, 1].map(|_| Session::new(two.clone()).unwrap());
        let [a, b] = sessions.each_ref().map(|session| places(session.model()));
        assert_eq!(a, b);
        // What needs no packing is the graph's own memory.
        let graph = network.graph();
        let bias = graph.weight_tensor(graph.find_weight("b").unwrap()).unwrap();
        let bias = (bias.bytes().as_ptr() as usize, bias.bytes().len());
        assert!(places(&one).contains(&bias));
        // The matrix product of large batches wants the linear layer's weights packed, once.
        let [four, nine] = [4, 9].map(|batch| network.model(batch).unwrap());
        assert_eq!(places(&four), places(&nine));
        assert_eq!(network.packed_bytes(), packed + 4 * 8 * 5usize.next_multiple_of(lanes()));
    }

    fn lanes() -> usize {
        Isa::preferred().unwrap().lanes()
    }

    #[test]
    fn what_was_measured_for_one_network_is_not_measured_for_the_next() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("cache/forms");
        let graph = Graph::parse(TEXT).unwrap();
        let options = CompileOptions {
            tune: true,
            tune_file: Some(file.clone()),
            ..CompileOptions::default()
        };
        let compiled = || Network::compile(&graph, &options).unwrap();
        let measured = |network: &Network| network.state().store.measured();
        let first = compiled();
        assert_eq!(measured(&first), 1);
        // Where the system does not name the processor, nothing is kept.
        if !cfg!(target_os = "linux") {
            return;
        }
        let second = compiled();
        assert_eq!(measured(&second), 0);
        assert_eq!(second.state().store.choices(), first.state().store.choices());
        assert_eq!(second.to_bytes(), first.to_bytes());
        for damage in ["", "something else", "bunjae measured forms 1\na\tb\n"] {
            std::fs::write(&file, damage).unwrap();
            assert_eq!((measured(&compiled()), measured(&compiled())), (1, 0), "{damage:?}");
        }
        // A form that cannot compute it is not believed.
        let text = std::fs::read_to_string(&file).unwrap();
        let (key, _) = text.trim_end().rsplit_once('\t').unwrap();
        std::fs::write(&file, format!("{key}\tdepthwise\n")).unwrap();
        assert_eq!(measured(&compiled()), 1);
        // Where nothing can be written, it compiles.
        let below = CompileOptions { tune_file: Some(file.join("below")), ..options.clone() };
        assert_eq!(measured(&Network::compile(&graph, &below).unwrap()), 1);
    }

    #[test]
    fn models_are_kept_and_the_oldest_is_forgotten() {
        let network = network(TEXT);
        let first = network.model(1).unwrap();
        for batch in 2..=MODELS {
            network.model(batch).unwrap();
        }
        assert!(Arc::ptr_eq(&first, &network.model(1).unwrap()));
        let second = network.model(2).unwrap();
        network.model(MODELS + 1).unwrap();
        assert!(Arc::ptr_eq(&second, &network.model(2).unwrap()));
        let third = network.model(3).unwrap();
        assert_eq!(third.inputs()[0].shape, [3, 4, 8, 8]);
        assert_eq!(network.state().models.len(), MODELS);
    }

    #[test]
    fn the_batch_is_a_symbol_a_number_or_neither() {
        assert_eq!(network(TEXT).batch(), Batch::Any { symbol: "N".into() });
        let fixed = network(&TEXT.replace("[N,", "[2,"));
        assert_eq!(fixed.batch(), Batch::Fixed(2));
        assert_eq!(fixed.model(2).unwrap().outputs()[0].shape, [2, 5]);
        assert_eq!(
            fixed.model(3).unwrap_err().to_string(),
            "a batch of 3 is not possible: the inputs are f32[2,4,8,8]; hint: export the model \
             with an open batch, or give each symbol a size"
        );
        let error = network(TEXT).model(0).unwrap_err();
        assert_eq!(error.to_string(), "x: a tensor of shape [0, 4, 8, 8] has no elements");
    }

    #[test]
    fn other_open_sizes_are_given_when_a_model_is_asked_for() {
        let text = "graph @open
in   %x: f32[N,4,H,W]
w    @c: f32[8,4,3,3] = rand(seed=1)
%1 = conv2d %x, @c {pad=[1,1,1,1]} : f32[N,8,H,W]
out  %1 ; \"y\"
";
        let network = network(text);
        let error = network.model(1).unwrap_err();
        assert!(matches!(&error, CompileError::UnknownSize { symbol, .. } if symbol == "H"));
        let mut sizes = Bindings::from([("N".into(), 1), ("H".into(), 5), ("W".into(), 6)]);
        let model = network.model_for(&sizes).unwrap();
        assert_eq!(model.outputs()[0].shape, [1, 8, 5, 6]);
        sizes.insert("unknown".into(), 3);
        assert!(Arc::ptr_eq(&model, &network.model_for(&sizes).unwrap()));
    }

    #[test]
    fn metadata_travels_with_the_network() {
        let network = network(TEXT);
        assert_eq!(network.metadata()["bunjae.labels"], "a,b");
        assert_eq!((network.name(), network.threads()), ("net", 1));
    }
}
