//! The pipeline as a whole: what it does when something is slow, broken, gone or full.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use bunjae_camera::source::{Read, Source, SourceError};
use bunjae_camera::{
    BackOff, Control, Event, Finder, FlowError, Found, Seen, Setup, Sink, Slow, Stage, Until, run,
};
use bunjae_data::Picture;
use support::{Script, Step, collect, model, setup};

const QUICK: BackOff = BackOff { first: Duration::from_millis(2), most: Duration::from_millis(10) };

#[test]
fn every_frame_of_a_file_arrives_in_order_when_it_is_worked_through() {
    let (sink, frames) = collect("frames");
    let source = Script::new([Step::Frames(200)]);
    let mut setup = setup(source, vec![sink]);
    setup.fast = true;
    let (summary, error) = run(setup, &Control::default());
    assert_eq!(error, None);
    let numbers: Vec<u64> = frames.lock().unwrap().iter().map(|seen| seen.0).collect();
    assert_eq!(numbers, (0..200).collect::<Vec<_>>());
    assert_eq!((summary.frames_read, summary.frames_labelled), (200, 200));
    assert!(summary.dropped.iter().all(|dropped| dropped.frames == 0), "{:?}", summary.dropped);
}

#[test]
fn behind_a_slow_stage_frames_are_dropped_and_their_age_does_not_grow() {
    for stage in [Stage::Detect, Stage::Infer] {
        let (sink, frames) = collect("frames");
        let source = Script::new([Step::Live { count: 300, every: Duration::from_millis(3) }]);
        let mut setup = setup(source, vec![sink]);
        setup.slow = Some(Slow { stage, time: Duration::from_millis(30) });
        let (summary, error) = run(setup, &Control::default());
        assert_eq!(error, None);
        let ages = frames.lock().unwrap();
        let dropped: u64 = summary.dropped.iter().map(|dropped| dropped.frames).sum();
        assert_eq!(dropped + summary.frames_labelled, 300, "{stage:?}: {:?}", summary.dropped);
        assert!(dropped > 200, "{stage:?}: {dropped}");
        // A queue would hold the last frame back for 200 times as long as a stage takes.
        let age = summary.outputs[0].age.unwrap();
        let (first, last) = (ages.first().unwrap().1, ages.last().unwrap().1);
        assert!(last < first + Duration::from_secs(1), "{stage:?}: from {first:?} to {last:?}");
        assert!(age.max_ms < 2_000.0, "{stage:?}: {age:?}");
    }
}

#[test]
fn a_slow_output_holds_up_neither_the_pipeline_nor_the_others() {
    struct Slug(Arc<AtomicUsize>);
    impl Sink for Slug {
        fn name(&self) -> String {
            "slug".to_owned()
        }
        fn show(&mut self, _: &Arc<Seen>) -> Result<(), String> {
            self.0.fetch_add(1, Ordering::Relaxed);
            thread::sleep(Duration::from_millis(100));
            Ok(())
        }
    }
    let (sink, frames) = collect("frames");
    let shown = Arc::new(AtomicUsize::new(0));
    let source = Script::new([Step::Live { count: 200, every: Duration::from_millis(2) }]);
    let setup = setup(source, vec![Box::new(Slug(shown.clone())), sink]);
    let (summary, error) = run(setup, &Control::default());
    assert_eq!(error, None);
    let (slow, fast) = (shown.load(Ordering::Relaxed), frames.lock().unwrap().len());
    assert!(slow * 4 < fast, "{slow} shown by the slow one, {fast} by the other");
    let dropped = summary.dropped.iter().find(|dropped| dropped.before == "slug").unwrap();
    assert_eq!(dropped.frames + slow as u64, summary.frames_labelled);
}

#[test]
fn a_source_that_is_lost_is_opened_again_until_it_is_back() {
    let (sink, frames) = collect("frames");
    let events = Arc::new(Mutex::new(Vec::new()));
    let openings = Arc::new(AtomicUsize::new(0));
    let mut setup = setup(Script::new([]), vec![sink]);
    let counted = openings.clone();
    setup.open = Box::new(move || match counted.fetch_add(1, Ordering::Relaxed) {
        0 => Ok(Box::new(Script::new([Step::Frames(3), Step::Lost]))),
        // Twice the device is not there yet.
        1 | 2 => Err(SourceError::Lost { source_name: "cam".into(), reason: "no device".into() }),
        _ => Ok(Box::new(Script::new([Step::Frames(4)]))),
    });
    setup.reopen = Some(QUICK);
    setup.fast = true;
    let heard = events.clone();
    setup.tell = Arc::new(move |event| heard.lock().unwrap().push(event));
    let (summary, error) = run(setup, &Control::default());
    assert_eq!(error, None);
    assert_eq!(openings.load(Ordering::Relaxed), 4);
    assert_eq!((summary.source_lost, summary.frames_labelled), (1, 7));
    let numbers: Vec<u64> = frames.lock().unwrap().iter().map(|seen| seen.0).collect();
    assert_eq!(numbers, (0..7).collect::<Vec<_>>());
    let events = events.lock().unwrap();
    let opened = events.iter().filter(|event| matches!(event, Event::Opened { .. })).count();
    let lost = events.iter().filter(|event| matches!(event, Event::Lost { .. })).count();
    assert_eq!((opened, lost), (2, 1), "{events:?}");
}

#[test]
fn a_source_that_stays_away_can_be_given_up_at_once() {
    let mut setup = setup(Script::new([]), Vec::new());
    let mut first = true;
    setup.open = Box::new(move || {
        if std::mem::take(&mut first) {
            return Ok(Box::new(Script::new([Step::Lost])));
        }
        Err(SourceError::Lost { source_name: "cam".into(), reason: "gone".into() })
    });
    // Longer than anybody waits.
    let hour = Duration::from_secs(3600);
    setup.reopen = Some(BackOff { first: hour, most: hour });
    let control = Control::default();
    let stopper = thread::spawn({
        let control = control.clone();
        move || {
            thread::sleep(Duration::from_millis(50));
            control.stop();
        }
    });
    let (summary, error) = run(setup, &control);
    stopper.join().unwrap();
    assert_eq!((error, summary.source_lost), (None, 1));
}

#[test]
fn a_file_that_is_lost_is_an_error_and_not_opened_again() {
    let setup = setup(Script::new([Step::Frames(2), Step::Lost]), Vec::new());
    let (summary, error) = run(setup, &Control::default());
    assert!(matches!(error, Some(FlowError::Source(SourceError::Lost { .. }))), "{error:?}");
    assert_eq!(summary.frames_read, 2);
}

#[test]
fn corrupt_frames_are_counted_and_skipped() {
    let (sink, frames) = collect("frames");
    let steps = [Step::Frames(2), Step::Corrupt(3), Step::Frames(2), Step::Corrupt(1)];
    let mut setup = setup(Script::new(steps), vec![sink]);
    setup.fast = true;
    let (summary, error) = run(setup, &Control::default());
    assert_eq!(error, None);
    assert_eq!((summary.frames_labelled, summary.frames_corrupt), (4, 4));
    assert_eq!(frames.lock().unwrap().len(), 4);
}

#[test]
fn a_source_with_nothing_but_corrupt_frames_is_an_error() {
    let setup = setup(Script::new([Step::Corrupt(7)]), Vec::new());
    let (_, error) = run(setup, &Control::default());
    let error = error.unwrap();
    assert!(matches!(error, FlowError::NothingGood { corrupt: 7, .. }), "{error}");
    assert_eq!(error.to_string(), "script: none of 7 frames can be decoded");
}

#[test]
fn a_live_source_with_nothing_but_corrupt_frames_is_opened_again() {
    let openings = Arc::new(AtomicUsize::new(0));
    let counted = openings.clone();
    let mut setup = setup(Script::new([]), Vec::new());
    setup.open = Box::new(move || {
        let step = match counted.fetch_add(1, Ordering::Relaxed) {
            0 => Step::Corrupt(1000),
            _ => Step::Frames(5),
        };
        Ok(Box::new(Script::new([step])))
    });
    setup.reopen = Some(QUICK);
    let (summary, error) = run(setup, &Control::default());
    assert_eq!(error, None);
    assert_eq!(openings.load(Ordering::Relaxed), 2);
    assert_eq!((summary.frames_read, summary.source_lost), (5, 1));
}

#[test]
fn what_cannot_be_opened_is_an_error_with_its_way_out() {
    let mut setup = setup(Script::new([]), Vec::new());
    setup.open = Box::new(|| {
        Err(SourceError::Failed {
            source_name: "cam".into(),
            reason: "no such device".into(),
            hint: "plug it in".into(),
        })
    });
    setup.reopen = Some(QUICK);
    let (_, error) = run(setup, &Control::default());
    let Some(FlowError::Source(error)) = error else { panic!("{error:?}") };
    assert_eq!(error.to_string(), "cam: no such device");
    assert_eq!(error.hint(), Some("plug it in"));
}

/// An output that fails after some frames.
struct Full {
    left: usize,
    finished: Arc<AtomicUsize>,
}

impl Sink for Full {
    fn name(&self) -> String {
        "full".to_owned()
    }

    fn show(&mut self, _: &Arc<Seen>) -> Result<(), String> {
        match self.left.checked_sub(1) {
            Some(left) => {
                self.left = left;
                Ok(())
            }
            None => Err("no space left".to_owned()),
        }
    }

    fn finish(&mut self) -> Result<Option<String>, String> {
        self.finished.fetch_add(1, Ordering::Relaxed);
        Ok(Some("what there is".to_owned()))
    }
}

#[test]
fn an_output_that_fails_is_closed_and_told_of_while_the_others_go_on() {
    let finished = Arc::new(AtomicUsize::new(0));
    let (sink, frames) = collect("frames");
    let full = Box::new(Full { left: 3, finished: finished.clone() });
    let mut setup = setup(Script::new([Step::Frames(50)]), vec![full, sink]);
    setup.fast = true;
    let (summary, error) = run(setup, &Control::default());
    assert_eq!(error, None);
    assert_eq!(frames.lock().unwrap().len(), 50);
    assert_eq!(finished.load(Ordering::Relaxed), 1);
    assert_eq!(summary.outputs[0].failure.as_deref(), Some("no space left"));
    assert_eq!(summary.outputs[0].left.as_deref(), Some("what there is"));
    assert_eq!(summary.outputs[1].failure, None);
}

#[test]
fn when_the_last_output_fails_the_pipeline_ends_with_its_error() {
    let finished = Arc::new(AtomicUsize::new(0));
    let full = Box::new(Full { left: 3, finished: finished.clone() });
    let endless = Step::Live { count: usize::MAX, every: Duration::from_millis(1) };
    let (summary, error) = run(setup(Script::new([endless]), vec![full]), &Control::default());
    let expected =
        FlowError::Output { output: "full".to_owned(), reason: "no space left".to_owned() };
    assert_eq!(error, Some(expected));
    assert_eq!(finished.load(Ordering::Relaxed), 1);
    assert_eq!(summary.outputs.len(), 1);
}

#[test]
fn an_end_by_frames_time_or_hand_finishes_the_outputs() {
    let endless =
        || Script::new([Step::Live { count: usize::MAX, every: Duration::from_millis(1) }]);
    for way in ["frames", "time", "hand"] {
        let finished = Arc::new(AtomicUsize::new(0));
        let sink = Box::new(Full { left: usize::MAX, finished: finished.clone() });
        let mut setup = setup(endless(), vec![sink]);
        let control = Control::default();
        match way {
            "frames" => setup.until.frames = Some(5),
            "time" => setup.until.time = Some(Duration::from_millis(50)),
            _ => {
                let control = control.clone();
                thread::spawn(move || {
                    thread::sleep(Duration::from_millis(50));
                    control.stop();
                });
            }
        }
        let (summary, error) = run(setup, &control);
        assert_eq!(error, None, "{way}");
        assert_eq!(finished.load(Ordering::Relaxed), 1, "{way}");
        if way == "frames" {
            assert_eq!(summary.frames_labelled, 5);
        }
    }
}

#[test]
fn a_source_that_never_answers_does_not_hold_up_the_end() {
    struct Stuck;
    impl Source for Stuck {
        fn describe(&self) -> String {
            "stuck".to_owned()
        }
        fn read(&mut self, _: &mut Picture) -> Result<Read, SourceError> {
            thread::sleep(Duration::from_secs(3600));
            Ok(Read::End)
        }
    }
    let mut setup = setup(Script::new([]), Vec::new());
    setup.open = Box::new(|| Ok(Box::new(Stuck)));
    setup.until.time = Some(Duration::from_millis(20));
    let begun = Instant::now();
    let (summary, error) = run(setup, &Control::default());
    assert_eq!((error, summary.frames_read), (None, 0));
    assert!(begun.elapsed() < Duration::from_secs(600));
}

/// A detector that finds so many faces, one beside the other.
struct Faces(usize);

impl Finder for Faces {
    fn name(&self) -> String {
        "faces".to_owned()
    }

    fn find(&mut self, picture: &Picture) -> Result<Vec<Found>, String> {
        if self.0 > 100 {
            return Err("too many".to_owned());
        }
        let whole = Found::whole(picture);
        Ok((0..self.0)
            .map(|left| {
                let mut found = whole;
                found.area.left = left;
                found.area.width = 4;
                found.crop = found.area;
                found
            })
            .collect())
    }
}

#[test]
fn every_face_of_a_frame_is_classified_whatever_their_number() {
    for count in [0, 1, 7, 9, 16, 37] {
        let (sink, frames) = collect("frames");
        let mut setup = setup(Script::new([Step::Frames(2)]), vec![sink]);
        setup.finder = Some(Box::new(Faces(count)));
        setup.models = vec![model(0, "a")];
        setup.fast = true;
        let (summary, error) = run(setup, &Control::default());
        assert_eq!(error, None);
        assert_eq!(summary.faces, 2 * count as u64);
        for seen in frames.lock().unwrap().iter() {
            assert_eq!(seen.2.len(), count);
            assert!(seen.2.iter().all(|face| face.guesses.len() == 1));
        }
    }
}

#[test]
fn a_batch_says_what_each_face_by_itself_says() {
    let picture = support::noise(40, 30);
    let regions: Vec<_> = (0..11)
        .map(|left| bunjae_data::Region { left, top: left, width: 9 + left, height: 12 })
        .collect();
    let mut recogniser = model(0, "a");
    let together = recogniser.recognise(&picture, &regions, 3).unwrap().guesses;
    for (region, together) in regions.iter().zip(together) {
        let alone = recogniser.recognise(&picture, &[*region], 3).unwrap().guesses.remove(0);
        for (a, b) in alone.iter().zip(&together) {
            assert_eq!(a.class, b.class);
            assert!((a.probability - b.probability).abs() < 1e-5);
        }
    }
}

#[test]
fn a_detector_that_fails_ends_the_pipeline_by_name() {
    let endless = Step::Live { count: usize::MAX, every: Duration::from_millis(1) };
    let mut setup = setup(Script::new([endless]), Vec::new());
    setup.finder = Some(Box::new(Faces(101)));
    let (_, error) = run(setup, &Control::default());
    assert_eq!(error.unwrap().to_string(), "the detector `faces`: too many");
}

#[test]
fn models_are_compared_one_after_the_other() {
    let mut setup = setup(Script::new([Step::Frames(1000)]), Vec::new());
    setup.models = vec![model(0, "a"), model(1, "b"), model(2, "c")];
    setup.until = Until { runs_per_model: Some(20), ..Until::default() };
    setup.fast = true;
    let (summary, error) = run(setup, &Control::default());
    assert_eq!(error, None);
    let counts: Vec<_> = summary
        .models
        .iter()
        .map(|model| (model.model.as_str(), model.frames, model.infer.unwrap().count))
        .collect();
    assert_eq!(counts, [("a", 20, 20), ("b", 20, 20), ("c", 20, 20)]);
    assert!(summary.models.iter().all(|model| model.frames_per_second.unwrap() > 0.0));
}

#[test]
fn another_model_can_be_chosen_while_the_pipeline_runs() {
    let (sink, frames) = collect("frames");
    let mut setup = setup(
        Script::new([Step::Live { count: 400, every: Duration::from_millis(1) }]),
        vec![sink],
    );
    setup.models = vec![model(0, "a"), model(1, "b")];
    let control = Control::default();
    let chooser = thread::spawn({
        let (control, frames) = (control.clone(), frames.clone());
        move || {
            while frames.lock().unwrap().len() < 5 {
                thread::sleep(Duration::from_millis(1));
            }
            control.select(1)
        }
    });
    let (_, error) = run(setup, &control);
    assert!(error.is_none() && chooser.join().unwrap());
    let names: Vec<String> = frames.lock().unwrap().iter().map(|seen| seen.3.clone()).collect();
    assert_eq!((names[0].as_str(), names.last().unwrap().as_str()), ("a", "b"));
    assert!(names.is_sorted());
}

#[test]
fn frames_use_the_same_few_buffers_again() {
    struct Places(Arc<Mutex<std::collections::BTreeSet<usize>>>);
    impl Sink for Places {
        fn name(&self) -> String {
            "places".to_owned()
        }
        fn show(&mut self, seen: &Arc<Seen>) -> Result<(), String> {
            self.0.lock().unwrap().insert(seen.frame.picture.samples().as_ptr() as usize);
            Ok(())
        }
    }
    let places = Arc::new(Mutex::new(std::collections::BTreeSet::new()));
    let source = Script::new([Step::Live { count: 500, every: Duration::from_micros(200) }]);
    let setup = setup(source, vec![Box::new(Places(places.clone()))]);
    let (summary, _) = run(setup, &Control::default());
    let places = places.lock().unwrap().len();
    assert!(summary.frames_labelled > 20, "{}", summary.frames_labelled);
    assert!(places <= 10, "{places} buffers for {} frames", summary.frames_labelled);
}

#[test]
fn a_picture_of_another_size_is_no_problem() {
    let (sink, frames) = collect("frames");
    let steps =
        [Step::Frames(1), Step::Size(7, 3), Step::Frames(1), Step::Size(300, 200), Step::Frames(1)];
    let mut setup: Setup = setup(Script::new(steps), vec![sink]);
    setup.fast = true;
    setup.models = vec![model(0, "a")];
    assert_eq!(run(setup, &Control::default()).1, None);
    assert_eq!(frames.lock().unwrap().len(), 3);
}
