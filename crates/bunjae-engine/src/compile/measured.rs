//! A file in which measured choices are kept from one run of a program to the next.
//!
//! ```text
//! bunjae measured forms 1
//! AMD EPYC 25 1 1  avx2  0.1.0  ConvSpec { ... }  winograd
//! ```
//!
//! A line for each choice, its fields parted by tabs: the processor, the instruction set, the version
//! of this crate, the convolution, and the fastest form. Lines of other processors and versions are
//! kept, as machines may share a home. The latest lines stand last, and the first are dropped when
//! there are too many.
//!
//! The file is a convenience: one that cannot be read, is damaged or holds something else is left out
//! of account and replaced, and one that cannot be written is done without. A run that saves reads
//! the file again and replaces it whole, so nobody sees half a file. It holds a lock meanwhile, so
//! that runs at the same time do not lose each other's lines; the lock is on a file of its own beside
//! (`.lock`), as the file itself is another one after each save.

use std::fs::{self, File, TryLockError};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bunjae_kernels::{ConvForm, ConvSpec, Isa};

const TITLE: &str = "bunjae measured forms 1";

/// More lines than this are not kept.
const MAX_LINES: usize = 4096;

/// A larger file is nothing that we wrote.
const MAX_BYTES: u64 = 8 << 20;

/// How long others may take to save: much longer than it takes, and short enough to wait for one
/// that was stopped with the lock in its hands. Then the file is saved without.
const PATIENCE: Duration = Duration::from_secs(5);

/// Fields of a line.
const FIELDS: usize = 5;

/// Choices of this machine and version, and the file in which they are.
pub(super) struct Measured {
    path: PathBuf,
    processor: String,
    /// All lines, of others as well.
    lines: Vec<String>,
    /// How many lines at the end are not in the file yet.
    new: usize,
}

impl Measured {
    /// What a file holds; `None` where it is not known what processor this is.
    pub(super) fn open(path: &Path) -> Option<Measured> {
        Some(Measured::of(path, processor()?))
    }

    fn of(path: &Path, processor: String) -> Measured {
        let lines = read(path).unwrap_or_default();
        Measured { path: path.to_owned(), processor, lines, new: 0 }
    }

    /// What a line about a convolution begins with.
    fn key(&self, spec: &ConvSpec, isa: Isa) -> String {
        format!("{}\t{isa}\t{}\t{spec:?}\t", self.processor, env!("CARGO_PKG_VERSION"))
    }

    /// The form that was the fastest.
    pub(super) fn form(&self, spec: &ConvSpec, isa: Isa) -> Option<ConvForm> {
        let key = self.key(spec, isa);
        let mut forms = self.lines.iter().rev().filter_map(|line| line.strip_prefix(&key));
        ConvForm::from_name(forms.next()?)
    }

    pub(super) fn add(&mut self, spec: &ConvSpec, isa: Isa, form: ConvForm) {
        let line = self.key(spec, isa) + form.name();
        if well_formed(&line) {
            self.lines.push(line);
            self.new += 1;
        }
    }

    /// Writes what was added, with what others wrote meanwhile.
    pub(super) fn save(&mut self) {
        self.save_within(PATIENCE);
    }

    fn save_within(&mut self, patience: Duration) {
        if self.new == 0 {
            return;
        }
        // Whatever stands against it, the choices hold for this run.
        let _ = self.path.parent().map(fs::create_dir_all);
        let _lock = lock(&self.path, patience);
        let own = self.lines.split_off(self.lines.len() - self.new);
        self.lines = read(&self.path).unwrap_or_default();
        self.lines.retain(|line| own.iter().all(|new| key_of(line) != key_of(new)));
        self.lines.extend(own);
        self.lines.drain(..self.lines.len().saturating_sub(MAX_LINES));
        self.new = 0;
        let text = format!("{TITLE}\n{}\n", self.lines.join("\n"));
        let _ = bunjae_files::write(&self.path, text.as_bytes());
    }
}

/// Keeps others from saving a file until it is dropped; `None` where that cannot be had.
fn lock(path: &Path, patience: Duration) -> Option<File> {
    let mut options = File::options();
    let file = options.write(true).create(true).truncate(false).open(lock_file(path)).ok()?;
    let begin = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Some(file),
            Err(TryLockError::WouldBlock) if begin.elapsed() < patience => {
                std::thread::sleep(Duration::from_millis(1));
            }
            Err(_) => return None,
        }
    }
}

fn lock_file(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    PathBuf::from(name)
}

/// The lines of a file that we wrote, those aside that are damaged.
fn read(path: &Path) -> Option<Vec<String>> {
    // Asked before opening, because opening a pipe would wait for a writer.
    if !fs::metadata(path).ok()?.is_file() {
        return None;
    }
    let mut bytes = Vec::new();
    File::open(path).ok()?.take(MAX_BYTES + 1).read_to_end(&mut bytes).ok()?;
    if bytes.len() as u64 > MAX_BYTES {
        return None;
    }
    let text = String::from_utf8_lossy(&bytes);
    let rest = text.strip_prefix(TITLE)?.strip_prefix('\n')?;
    let lines = rest.lines().filter(|line| well_formed(line));
    let mut lines: Vec<String> = lines.map(str::to_string).collect();
    lines.drain(..lines.len().saturating_sub(MAX_LINES));
    Some(lines)
}

fn well_formed(line: &str) -> bool {
    // The longest lines of full length stay below the limit of the file together.
    line.len() < 1900
        && line.split('\t').count() == FIELDS
        && line.split('\t').all(|field| !field.is_empty())
        && !line
            .contains(|c: char| c != '\t' && (c.is_control() || c == char::REPLACEMENT_CHARACTER))
}

/// A line without its form.
fn key_of(line: &str) -> &str {
    line.rsplit_once('\t').map_or(line, |(key, _)| key)
}

/// What the processor is, as far as the system says: x86 has a name, but those of virtual machines
/// say little without family, model and stepping; Arm has numbers only.
fn processor() -> Option<String> {
    processor_of(&fs::read_to_string("/proc/cpuinfo").ok()?)
}

fn processor_of(info: &str) -> Option<String> {
    const KEYS: [&str; 9] = [
        "model name",
        "cpu family",
        "model",
        "stepping",
        "cache size",
        "CPU implementer",
        "CPU variant",
        "CPU part",
        "CPU revision",
    ];
    let first = info.split("\n\n").find(|block| block.contains("processor"))?;
    let entries: Vec<(&str, &str)> = first
        .lines()
        .filter_map(|line| line.split_once(':').map(|(key, value)| (key.trim(), value.trim())))
        .collect();
    let value = |key| entries.iter().find(|entry| entry.0 == key).map(|entry| entry.1);
    let words: Vec<&str> = KEYS.into_iter().filter_map(value).collect();
    let name = words.join(" ");
    let name: String = name.chars().filter(|c| !c.is_control()).take(200).collect();
    (!name.is_empty()).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bunjae_kernels::{Halo, Planar};

    fn spec(channels: usize) -> ConvSpec {
        let input = Planar::new(1, channels, 12, 12, Halo::uniform(1));
        let output = Planar::new(1, 8, 12, 12, Halo::default());
        ConvSpec { padding: [1, 1], ..ConvSpec::new(input, output, [3, 3]) }
    }

    fn opened(path: &Path) -> Measured {
        Measured::of(path, "processor".to_string())
    }

    #[test]
    fn choices_are_found_again_by_processor_instruction_set_and_convolution() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/folder/forms");
        let mut first = opened(&path);
        first.add(&spec(4), Isa::Portable, ConvForm::Winograd);
        first.save();
        let again = opened(&path);
        assert_eq!(again.form(&spec(4), Isa::Portable), Some(ConvForm::Winograd));
        assert_eq!(again.form(&spec(5), Isa::Portable), None);
        assert_eq!(again.form(&spec(4), Isa::Avx2), None);
        let other = Measured::of(&path, "another".to_string());
        assert_eq!(other.form(&spec(4), Isa::Portable), None);
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, text.replace(env!("CARGO_PKG_VERSION"), "0.0.0")).unwrap();
        assert_eq!(opened(&path).form(&spec(4), Isa::Portable), None);
        assert_eq!(opened(&path).lines.len(), 1);
    }

    #[test]
    fn damaged_foreign_and_endless_files_are_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("forms");
        let long = format!("{TITLE}\n{}", "a\ta\ta\ta\ta\n".repeat(1 << 20));
        let kept = format!("{TITLE}\nhalf a li\na\tb\tc\td\te\n\t\t\t\t\n");
        let bytes: [(&[u8], usize); 6] = [
            (b"", 0),
            (b"\xff\xfe\0 no text", 0),
            (b"somebody's diary\n", 0),
            (format!("{TITLE}5\na\tb\tc\td\te\n").leak().as_bytes(), 0),
            (long.as_bytes(), 0),
            (kept.as_bytes(), 1),
        ];
        for (bytes, lines) in bytes {
            fs::write(&path, bytes).unwrap();
            let mut measured = opened(&path);
            assert_eq!(measured.lines.len(), lines);
            measured.add(&spec(4), Isa::Portable, ConvForm::Pixel);
            measured.save();
            assert_eq!(opened(&path).form(&spec(4), Isa::Portable), Some(ConvForm::Pixel));
            assert_eq!(opened(&path).lines.len(), lines + 1);
        }
        // No file can be there; nothing happens.
        let mut measured = opened(folder.path());
        measured.add(&spec(4), Isa::Portable, ConvForm::Pixel);
        measured.save();
    }

    #[test]
    fn the_file_is_bounded_and_drops_what_is_old() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("forms");
        let mut measured = opened(&path);
        for channels in 1..=MAX_LINES + 10 {
            measured.add(&spec(channels), Isa::Portable, ConvForm::Pixel);
        }
        measured.save();
        let again = opened(&path);
        assert_eq!(again.lines.len(), MAX_LINES);
        assert_eq!(again.form(&spec(10), Isa::Portable), None);
        assert_eq!(again.form(&spec(11), Isa::Portable), Some(ConvForm::Pixel));
        assert!(fs::metadata(&path).unwrap().len() <= MAX_BYTES);
    }

    #[test]
    fn runs_at_the_same_time_lose_no_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("forms");
        std::thread::scope(|scope| {
            for worker in 0..4 {
                let path = &path;
                scope.spawn(move || {
                    for round in 0..10 {
                        let mut measured = opened(path);
                        let spec = spec(1 + worker * 10 + round);
                        measured.add(&spec, Isa::Portable, ConvForm::Pixel);
                        measured.save_within(Duration::from_secs(600));
                    }
                });
            }
        });
        let again = opened(&path);
        let kept =
            (1..=40).filter(|&channels| again.form(&spec(channels), Isa::Portable).is_some());
        assert_eq!((kept.count(), again.lines.len()), (40, 40));
        let mut names: Vec<_> =
            fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["forms", "forms.lock"]);
    }

    #[test]
    fn a_lock_that_nobody_gives_back_is_not_waited_for_forever() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("forms");
        let held = lock(&path, Duration::ZERO).unwrap();
        assert!(lock(&path, Duration::ZERO).is_none());
        let mut measured = opened(&path);
        measured.add(&spec(4), Isa::Portable, ConvForm::Pixel);
        measured.save_within(Duration::from_millis(20));
        assert_eq!(opened(&path).form(&spec(4), Isa::Portable), Some(ConvForm::Pixel));
        drop(held);
        assert!(lock(&path, Duration::ZERO).is_some());
    }

    #[test]
    fn a_processor_is_named_by_what_the_system_says_of_the_first() {
        let x86 = "processor\t: 0\ncpu family\t: 25\nmodel\t\t: 1\nmodel name\t: AMD EPYC\n\
                   stepping\t: 1\ncpu MHz\t: 2450\n\nprocessor\t: 1\nmodel name\t: other\n";
        assert_eq!(processor_of(x86).unwrap(), "AMD EPYC 25 1 1");
        let arm = "processor\t: 0\nCPU implementer\t: 0x41\nCPU part\t: 0xd0c\n";
        assert_eq!(processor_of(arm).unwrap(), "0x41 0xd0c");
        assert_eq!(processor_of("processor\t: 0\n"), None);
        assert_eq!(processor_of(""), None);
    }
}
