//! Distillation in whole runs: the values of every loss, and students that learn.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bunjae_data::augment::{Augment, Step};
use bunjae_data::pictures::{Pictures, Reading};
use bunjae_data::{Channels, Colour, Dataset, Item, Preprocess, Records, Source, Split};
use bunjae_ir::Graph;
use bunjae_train::recipe::{Distil, Hint, Method, Recipe};
use bunjae_train::{Event, Materials, Run, with_new_head};

use crate::support::{bits, materials, net, pictures, recipe, train};

/// Three logits from two pixels, through a convolution `conv` with one weight and a bias.
fn linear(conv: [f32; 2], head: [[f32; 2]; 3]) -> Graph {
    let ([weight, bias], [a, b, c]) = (conv, head);
    let text = format!(
        "graph @linear
in   %x: f32[N,1,1,2]
w    @conv.w: f32[1,1,1,1] = [{weight}]
w    @conv.b: f32[1] = [{bias}]
w    @fc.w: f32[3,2] = [{}, {}, {}, {}, {}, {}]
%1 = conv2d %x, @conv.w, @conv.b : f32[N,1,1,2] ; \"conv\"
%2 = flatten %1 {{axis=1}} : f32[N,2] ; \"flatten\"
%3 = linear %2, @fc.w : f32[N,3] ; \"fc\"
out  %3 ; \"scores\"
",
        a[0], a[1], b[0], b[1], c[0], c[1]
    );
    Graph::parse(&text).unwrap()
}

/// The logits of the golden values, one row for each picture.
const STUDENT: [[f64; 3]; 2] = [[2.0, 0.5, -1.0], [0.0, 1.0, 3.0]];
const TEACHER: [[f64; 3]; 2] = [[3.0, 1.0, -2.0], [0.5, 0.0, 2.5]];
const LABELS: [usize; 2] = [0, 2];

fn giving(logits: [[f64; 3]; 2], conv: [f32; 2]) -> Graph {
    linear(conv, std::array::from_fn(|class| logits.map(|row| row[class] as f32)))
}

/// The pictures (1, 0) and (0, 1), so that their logits are the columns of the head.
fn unit_pictures() -> Arc<Pictures> {
    let records = Arc::new(Records {
        origin: "made up".to_owned(),
        width: 2,
        height: 1,
        channels: Channels::Grey,
        samples: vec![255, 0, 0, 255],
    });
    let items = LABELS.iter().enumerate().map(|(index, &label)| Item {
        source: Source::Record { records: Arc::clone(&records), index },
        label: Some(label),
        split: Some(Split::Train),
        group: None,
    });
    let classes = ["a", "b", "c"].map(str::to_owned).to_vec();
    let dataset = Dataset { classes, items: items.collect(), skipped: Vec::new() };
    let reading = Reading::new(Preprocess::plain(2, 1, Colour::Grey));
    Arc::new(Pictures::new(dataset, reading).unwrap())
}

/// The loss of the first step.
fn loss(student: Graph, teachers: Vec<Graph>, methods: Vec<Method>, labels: f64) -> f64 {
    let own = |augment| {
        let distil = Some(Distil { methods: methods.clone(), labels });
        let recipe = Recipe { epochs: 1, batch: 2, distil, augment, ..recipe() };
        let materials = Materials {
            graph: student.clone(),
            teachers: teachers.clone(),
            train: unit_pictures(),
            val: None,
            folder: None,
            fingerprint: String::new(),
            threads: 1,
        };
        train(&recipe, materials).epochs[0].train_loss
    };
    // Once with teachers that are asked beforehand, once with the batch as the student sees it.
    let known = own(Augment::default());
    let asked = own(Augment { crop: None, steps: vec![Step::Flip { p: 0.0 }] });
    assert_eq!(known, asked);
    known
}

fn cross_entropy(logits: [[f64; 3]; 2]) -> f64 {
    let row = |(row, label): (&[f64; 3], usize)| {
        row.iter().map(|x| x.exp()).sum::<f64>().ln() - row[label]
    };
    logits.iter().zip(LABELS).map(row).sum::<f64>() / 2.0
}

#[track_caller]
fn close(found: f64, expected: f64) {
    assert!((found - expected).abs() < 3e-6 * (1.0 + expected), "{found}, not {expected}");
}

/// The values are those of RepDistiller (kd), mdistiller (dkd) and the authors of DIST.
#[test]
fn losses_on_logits_have_their_golden_values() {
    let by = |methods: Vec<Method>, labels: f64| {
        let (student, teacher) = (giving(STUDENT, [1.0, 0.0]), giving(TEACHER, [1.0, 0.0]));
        loss(student, vec![teacher], methods, labels)
    };
    let labels = cross_entropy(STUDENT);
    for (temperature, expected) in [(1.0, 0.043991), (2.0, 0.130449), (4.0, 0.206371)] {
        let kd = Method::Kd { temperature };
        close(by(vec![kd.clone()], 0.0), expected);
        close(by(vec![kd], 0.25), 0.25 * labels + 0.75 * expected);
    }
    // Differences of -1, -0.5, 1 and -0.5, 1, 0.5; noise of no deviation changes nothing.
    close(by(vec![Method::Logits], 0.0), 0.625);
    close(by(vec![Method::Noisy { deviation: 0.0 }], 0.0), 0.625);
    let dkd = |warm_up| Method::Dkd { temperature: 4.0, alpha: 1.0, beta: 8.0, warm_up };
    close(by(vec![dkd(0)], 0.3), labels + 2.214622);
    close(by(vec![dkd(4)], 0.3), labels + 2.214622 / 4.0);
    let dist = Method::Dist { temperature: 1.0, beta: 1.0, gamma: 1.0 };
    close(by(vec![dist.clone()], 0.3), labels + 0.005125);
    let kd = Method::Kd { temperature: 4.0 };
    close(by(vec![kd, dist], 0.25), 0.25 * labels + 0.75 * 0.206371 + 0.005125);
}

#[test]
fn several_teachers_are_imitated_in_their_mean() {
    // Their mean is TEACHER.
    let other = |by: f64| giving(TEACHER.map(|row| row.map(|x| x + by * (1.0 + x))), [1.0, 0.0]);
    let kd = Method::Kd { temperature: 4.0 };
    let student = giving(STUDENT, [1.0, 0.0]);
    close(loss(student, vec![other(0.5), other(-0.5)], vec![kd], 0.0), 0.206371);
}

#[test]
fn losses_on_features_have_the_values_of_their_formulas() {
    // The student's features are (1, 0) and (0, 1); the teacher's (2, 1) and (1, 2).
    let (student, teacher) = (giving(STUDENT, [1.0, 0.0]), giving(TEACHER, [1.0, 1.0]));
    let labels = cross_entropy(STUDENT);
    let hint = Hint { student: "conv".to_owned(), teacher: "conv".to_owned() };
    for hints in [Vec::new(), vec![hint.clone()], vec![hint.clone(), hint.clone()]] {
        let at = Method::At { hints, weight: 1000.0 };
        // |(1, 0) - (4, 1) / sqrt(17)|^2 is 2 - 8 / sqrt(17), over two places.
        let expected = 1000.0 * (1.0 - 4.0 / 17f64.sqrt());
        let found = loss(student.clone(), vec![teacher.clone()], vec![at], 0.5);
        assert!((found - labels - expected).abs() < 1e-4, "{found}, not {labels} + {expected}");
    }
    // Of features that are 0 a regressor makes 0, whatever its weight: (4 + 1) / 2.
    let dark = giving(STUDENT, [0.0, 0.0]);
    for hint in [None, Some(hint)] {
        let fitnet = Method::FitNet { hint, weight: 100.0 };
        close(
            loss(dark.clone(), vec![teacher.clone()], vec![fitnet], 0.5) / 100.0,
            (3f64.ln() + 250.0) / 100.0,
        );
    }
}

fn taught(student: Graph, teacher: &Graph, folder: Option<&Path>) -> Materials {
    Materials { teachers: vec![teacher.clone()], ..materials(student, folder, 1) }
}

fn student() -> Graph {
    with_new_head(&net(), 2, 9).unwrap()
}

fn distilled(methods: Vec<Method>, labels: f64) -> Recipe {
    Recipe { distil: Some(Distil { methods, labels }), ..recipe() }
}

fn every_method() -> Vec<Method> {
    vec![
        Method::Kd { temperature: 4.0 },
        Method::Noisy { deviation: 0.1 },
        Method::Dkd { temperature: 4.0, alpha: 1.0, beta: 8.0, warm_up: 4 },
        Method::Dist { temperature: 1.0, beta: 1.0, gamma: 1.0 },
        Method::FitNet { hint: None, weight: 1.0 },
        Method::At { hints: Vec::new(), weight: 10.0 },
    ]
}

/// Another network with more channels than the student.
fn wide() -> Graph {
    let text = crate::support::NET
        .replace("f32[4,1,3,3]", "f32[7,1,3,3]")
        .replace("[N,4", "[N,7")
        .replace("f32[4]", "f32[7]")
        .replace("f32[2,4]", "f32[2,7]")
        .replace("[1, 1, 1, 1]", "[1, 1, 1, 1, 1, 1, 1]")
        .replace("[0, 0, 0, 0]", "[0, 0, 0, 0, 0, 0, 0]");
    Graph::parse(&text).unwrap()
}

#[test]
fn a_student_learns_from_a_teacher() {
    let teacher = train(&recipe(), materials(wide(), None, 1)).graph;
    let methods = every_method().into_iter().map(|method| vec![method]);
    for methods in methods.chain([vec![Method::Logits], every_method()]) {
        let recipe = distilled(methods.clone(), 0.0);
        let trained = train(&recipe, taught(student(), &teacher, None));
        let best = &trained.epochs[trained.best_epoch as usize];
        assert!(best.accuracy > Some(0.9), "{methods:?}: {best:?}");
        // A regressor is no part of the student.
        assert!(bits(&trained.graph).keys().eq(bits(&student()).keys()));
    }
}

#[test]
fn hints_are_learnt() {
    let teacher = train(&recipe(), materials(wide(), None, 1)).graph;
    let fitnet = Method::FitNet { hint: None, weight: 10.0 };
    let at = Method::At { hints: Vec::new(), weight: 1000.0 };
    for method in [fitnet, at] {
        let own = taught(student(), &teacher, None);
        let epochs = train(&distilled(vec![method.clone()], 0.5), own).epochs;
        let [first, last] = [0, 5].map(|epoch| epochs[epoch].train_loss);
        assert!(last < 0.7 * first, "{method:?}: {first} became {last}");
    }
}

#[test]
fn a_distillation_goes_on_as_if_it_had_not_been_stopped() {
    let teacher = train(&recipe(), materials(wide(), None, 1)).graph;
    for methods in [every_method(), vec![Method::Noisy { deviation: 0.1 }]] {
        let recipe = distilled(methods, 0.5);
        let whole = train(&recipe, taught(student(), &teacher, None));
        let folder = tempfile::tempdir().unwrap();
        let begin = || taught(student(), &teacher, Some(folder.path()));
        let mut run = Run::new(recipe.clone(), begin(), false).unwrap();
        let mut epochs = 0;
        let killed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            run.train(&mut |event| {
                epochs += u64::from(matches!(event, Event::Epoch { .. }));
                assert!(epochs < 3, "killed");
            })
        }));
        assert!(killed.is_err());
        let mut run = Run::new(recipe, begin(), true).unwrap();
        assert_eq!(run.epoch(), 3);
        assert_eq!(bits(&run.train(&mut |_| {}).unwrap().graph), bits(&whole.graph));
    }
}

#[test]
fn teachers_of_unchanged_pictures_are_asked_once() {
    let teacher = train(&recipe(), materials(wide(), None, 1)).graph;
    let folder = tempfile::tempdir().unwrap();
    let asked = |recipe: Recipe, fingerprint: &str| {
        let mut asked = 0;
        let fingerprint = fingerprint.to_owned();
        let own = Materials { fingerprint, ..taught(student(), &teacher, Some(folder.path())) };
        let mut run = Run::new(recipe, own, false).unwrap();
        let trained = run.train(&mut |event| {
            if let Event::Teachers { done, of } = event {
                assert_eq!(*of, 68);
                asked = *done;
            }
        });
        (asked, bits(&trained.unwrap().graph))
    };
    let kd = || distilled(vec![Method::Kd { temperature: 4.0 }], 0.5);
    let (all, first) = asked(kd(), "one");
    assert_eq!(all, 68);
    let file: PathBuf = folder.path().join("teacher.safetensors");
    assert!(file.exists());
    assert_eq!(asked(kd(), "one"), (0, first.clone()), "read from the file");
    assert_eq!(asked(kd(), "other"), (68, first.clone()), "the file is of other pictures");
    std::fs::write(&file, "half a file").unwrap();
    assert_eq!(asked(kd(), "other"), (68, first));
    // Pictures that change, and features, which take too much room.
    let flipped = Recipe { augment: Augment::flip(), ..kd() };
    assert_eq!(asked(flipped, "one").0, 0);
    let at = distilled(vec![Method::At { hints: Vec::new(), weight: 1.0 }], 0.5);
    assert_eq!(asked(at, "one").0, 0);
}

/// Pictures without a label among those that have one.
fn with_unlabelled(only_from: usize) -> Arc<Pictures> {
    let labelled = pictures(68, Split::Train, 5);
    let mut dataset = labelled.dataset().clone();
    dataset.items[only_from..].iter_mut().for_each(|item| item.label = None);
    Arc::new(Pictures::new(dataset, labelled.reading().clone()).unwrap())
}

#[test]
fn pictures_without_labels_teach_what_the_teacher_says() {
    let teacher = train(&recipe(), materials(wide(), None, 1)).graph;
    // Two labelled pictures teach nothing by themselves.
    let best = |recipe: &Recipe, teachers: Vec<Graph>| {
        let own =
            Materials { teachers, train: with_unlabelled(2), ..materials(student(), None, 1) };
        let trained = train(recipe, own);
        trained.epochs[trained.best_epoch as usize].accuracy.unwrap()
    };
    for methods in [vec![Method::Kd { temperature: 4.0 }], every_method()] {
        let accuracy = best(&distilled(methods.clone(), 0.5), vec![teacher.clone()]);
        assert!(accuracy > 0.9, "{methods:?}: {accuracy}");
    }
}

#[test]
fn what_cannot_be_distilled_is_refused() {
    let refused = |recipe: Recipe, own: Materials| Run::new(recipe, own, false).err().unwrap();
    let kd = Method::Kd { temperature: 4.0 };
    let without = refused(distilled(vec![kd.clone()], 0.5), materials(student(), None, 1));
    assert_eq!(without.to_string(), "teacher: a method and a teacher go together");
    let teacher = wide();
    let begin = || taught(student(), &teacher, None);
    let none = refused(distilled(Vec::new(), 0.5), begin());
    assert_eq!(none.to_string(), "method: none is given");
    let cold = refused(distilled(vec![Method::Kd { temperature: 0.0 }], 0.5), begin());
    assert!(cold.to_string().contains("temperature should be above 0"), "{cold}");
    let heavy = Method::At { hints: Vec::new(), weight: -1.0 };
    let heavy = refused(distilled(vec![heavy], 0.5), begin());
    assert_eq!(heavy.to_string(), "weight of at: -1 is below 0");
    let hint = Hint { student: "relu".to_owned(), teacher: "nowhere".to_owned() };
    let lost =
        refused(distilled(vec![Method::FitNet { hint: Some(hint), weight: 1.0 }], 0.5), begin());
    assert_eq!(lost.to_string(), "the teacher has no layer called `nowhere`");
    assert!(lost.hint().unwrap().contains("--hint STUDENT=TEACHER"));
    let at = || distilled(vec![Method::At { hints: Vec::new(), weight: 1.0 }], 0.5);
    let two = Materials { teachers: vec![wide(), wide()], ..materials(student(), None, 1) };
    let two = refused(at(), two).to_string();
    assert_eq!(two, "teacher: hints come from one teacher, not 2");
    let other = with_new_head(&wide(), 5, 1).unwrap();
    let other = refused(distilled(vec![kd], 0.5), taught(student(), &other, None)).to_string();
    assert_eq!(other, "the model tells 5 classes apart, the pictures are of 2");
}
