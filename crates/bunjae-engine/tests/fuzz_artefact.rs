//! The fuzz body of stored networks, replayed over structured mutations: nothing panics, and
//! loading takes memory in proportion to the file.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(unsafe_code, reason = "a global allocator is an unsafe trait")]

#[path = "fuzz_bodies/artefact.rs"]
mod body;

use std::alloc::{GlobalAlloc, Layout, System};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use body::{Outcome, artefact};
use bunjae_engine::{CompileOptions, Isa, LoadOptions, Network};
use bunjae_ir::Graph;
use bunjae_tensor::Random;

/// Remembers the largest single request for memory.
struct Watching;

static LARGEST: AtomicUsize = AtomicUsize::new(0);

// SAFETY: all calls are passed on to the system's allocator as they are.
unsafe impl GlobalAlloc for Watching {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LARGEST.fetch_max(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(ptr, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Watching = Watching;

const TEXT: &str = "graph @net
meta \"k\" = \"v\"
in   %x: f32[N,4,6,6]
w    @c: f32[4,4,3,3] = rand(seed=1)
w    @d: f32[4,1,3,3] = rand(seed=2)
w    @l: f32[3,4] = rand(seed=3)
w    @b: f32[3] = rand(seed=4)
%1 = conv2d %x, @c {pad=[1,1,1,1]} : f32[N,4,6,6]
%2 = relu %1 : f32[N,4,6,6]
%3 = conv2d %2, @d {groups=depthwise, pad=[1,1,1,1], stride=[2,2]} : f32[N,4,3,3]
%4 = global_pool %3 : f32[N,4,1,1]
%5 = flatten %4 : f32[N,4]
%6 = linear %5, @l, @b : f32[N,3]
%7 = softmax %6 {axis=1} : f32[N,3]
out  %7 ; \"y\"
";

const HEADER: usize = 128;

fn bytes() -> Vec<u8> {
    let graph = Graph::parse(TEXT).unwrap();
    let options = CompileOptions { isa: Some(Isa::Portable), ..CompileOptions::default() };
    Network::compile(&graph, &options).unwrap().to_bytes()
}

fn repair(bytes: &mut [u8]) {
    if bytes.len() >= HEADER {
        let length = (bytes.len() as u64).to_le_bytes();
        bytes[24..32].copy_from_slice(&length);
        let checksum = crc32fast::hash(&bytes[12..]);
        bytes[8..12].copy_from_slice(&checksum.to_le_bytes());
    }
}

/// The four sections.
fn sections(bytes: &[u8]) -> [Vec<u8>; 4] {
    let mut end = HEADER;
    [0, 1, 2, 3].map(|index| {
        let len = u64::from_le_bytes(bytes[64 + 8 * index..][..8].try_into().unwrap());
        let start = end.next_multiple_of(64);
        end = start + usize::try_from(len).unwrap();
        bytes[start..end].to_vec()
    })
}

/// A file of other sections under the header of `bytes`.
fn assembled(bytes: &[u8], sections: &[Vec<u8>; 4]) -> Vec<u8> {
    let mut file = bytes[..HEADER].to_vec();
    for (index, section) in sections.iter().enumerate() {
        file.resize(file.len().next_multiple_of(64), 0);
        file.extend_from_slice(section);
        let length = (section.len() as u64).to_le_bytes();
        file[64 + 8 * index..][..8].copy_from_slice(&length);
    }
    repair(&mut file);
    file
}

/// Where numbers stand in a text.
fn numbers(text: &[u8]) -> Vec<std::ops::Range<usize>> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < text.len() {
        let len = text[at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        if len > 0 {
            found.push(at..at + len);
        }
        at += len + 1;
    }
    found
}

/// Feeds an input, and counts how far it got.
fn feed(bytes: &[u8], counts: &mut BTreeMap<Outcome, usize>) {
    LARGEST.store(0, Ordering::Relaxed);
    // An error or a network is dropped at once; only the requests count.
    drop(Network::from_bytes(bytes.to_vec(), &LoadOptions::default()));
    let largest = LARGEST.load(Ordering::Relaxed);
    assert!(largest <= 64 * bytes.len() + 4096, "{largest} bytes for a file of {}", bytes.len());
    *counts.entry(artefact(bytes)).or_default() += 1;
}

#[test]
fn no_mutation_of_a_stored_network_panics_or_asks_for_much_memory() {
    let whole = bytes();
    let mut unrepaired = BTreeMap::new();
    for len in 0..whole.len() {
        feed(&whole[..len], &mut unrepaired);
    }
    for at in 0..whole.len() {
        let mut flipped = whole.clone();
        flipped[at] ^= 1 << (at % 8);
        feed(&flipped, &mut unrepaired);
    }
    // Nothing but the original passes.
    assert_eq!(unrepaired, BTreeMap::from([(Outcome::Refused, 2 * whole.len())]));

    let mut counts = BTreeMap::new();
    feed(&whole, &mut counts);
    assert_eq!(counts, BTreeMap::from([(Outcome::Ran, 1)]));
    for len in 0..whole.len() {
        let mut cut = whole[..len].to_vec();
        repair(&mut cut);
        feed(&cut, &mut counts);
    }
    for at in 12..whole.len() {
        // All bits of the header and the texts, some of the weights.
        let bits = if at < whole.len() / 2 { 8 } else { 1 };
        for bit in 0..bits {
            let mut flipped = whole.clone();
            flipped[at] ^= 1 << bit;
            repair(&mut flipped);
            feed(&flipped, &mut counts);
        }
    }
    let extremes = [0, 1, 63, 64, 1 << 20, 1 << 31, 1 << 32, 1 << 62, u64::MAX - 1, u64::MAX];
    for field in 0..5 {
        for value in extremes {
            let mut changed = whole.clone();
            let at = if field == 4 { 24 } else { 64 + 8 * field };
            changed[at..at + 8].copy_from_slice(&u64::to_le_bytes(value));
            let checksum = crc32fast::hash(&changed[12..]);
            changed[8..12].copy_from_slice(&checksum.to_le_bytes());
            feed(&changed, &mut counts);
        }
    }
    let own = sections(&whole);
    assert_eq!(assembled(&whole, &own), whole);
    for index in [0, 1] {
        for range in numbers(&own[index]) {
            let texts = extremes.map(|value| value.to_string());
            for text in texts.iter().map(String::as_str).chain(["-1", "99999999999999999999", ""]) {
                let mut changed = own.clone();
                changed[index].splice(range.clone(), text.bytes());
                feed(&assembled(&whole, &changed), &mut counts);
            }
        }
    }
    let mut random = Random::new(11);
    for _ in 0..3000 {
        let mut changed = own.clone();
        for _ in 0..1 + random.below(4) {
            mutate(&mut changed[random.below(2)], &mut random);
        }
        feed(&assembled(&whole, &changed), &mut counts);
    }
    // A mutation that changes a weight or a name leaves a network that runs.
    assert!(counts[&Outcome::Ran] > 200, "{counts:?}");
    assert!(counts[&Outcome::Refused] > 5000, "{counts:?}");
}

/// Copies, removes or changes a piece of a section.
fn mutate(section: &mut Vec<u8>, random: &mut Random) {
    let from = random.below(section.len() + 1);
    let to = (from + random.below(24)).min(section.len());
    match random.below(4) {
        0 => drop(section.drain(from..to)),
        1 => {
            let piece = section[from..to].to_vec();
            let at = random.below(section.len() + 1);
            section.splice(at..at, piece);
        }
        2 => {
            // Whole lines, in another order.
            let mut lines: Vec<Vec<u8>> =
                section.split(|b| *b == b'\n').map(<[u8]>::to_vec).collect();
            let (a, b) = (random.below(lines.len()), random.below(lines.len()));
            lines.swap(a, b);
            *section = lines.join(&b'\n');
        }
        _ => section[from..to].iter_mut().for_each(|byte| *byte = random.bits() as u8),
    }
}
