//! From a picture file to classes in one call.

use std::ffi::{CString, c_char};
use std::path::PathBuf;

use bunjae_classify::{Classifier, top};
use bunjae_data::{Annotations, Source};

use crate::error::{BunjaeStatus, elements_mut, exclusive, guarded, shared, status, text};
use crate::model::BunjaeModel;
use crate::session::planned;

/// A model that takes picture files. One thread at a time may use a classifier.
pub struct BunjaeClassifier {
    classifier: Classifier,
    labels: Vec<CString>,
}

/// A class and how likely it is.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct BunjaeClass {
    /// The index of the class, from 0.
    pub index: usize,
    /// Between 0 and 1.
    pub probability: f32,
}

/// Makes a classifier of a model that knows how pictures become its input (`bunjae annotate`). Null
/// on failure; freed with bunjae_classifier_free.
///
/// # Safety
/// `model` is null or was returned by bunjae_open or bunjae_open_memory.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bunjae_classifier_create(
    model: *const BunjaeModel,
    threads: usize,
) -> *mut BunjaeClassifier {
    let classifier = guarded(|| {
        // SAFETY: this function's caller promises the same.
        let network = &unsafe { shared(model, "model") }?.network;
        let annotations = Annotations::read(network.metadata()).map_err(|e| e.to_string())?;
        let model = planned(network, 0).map_err(|error| error.to_string())?;
        let classifier = Classifier::new(model, annotations, threads.max(1));
        let classifier = classifier.map_err(|error| error.to_string())?;
        let label = |class| {
            let label = classifier.label(class).unwrap_or_default();
            CString::new(label.replace('\0', "\\0")).unwrap_or_default()
        };
        let labels = (0..classifier.classes()).map(label).collect();
        Ok(Box::new(BunjaeClassifier { classifier, labels }))
    });
    classifier.map_or(std::ptr::null_mut(), Box::into_raw)
}

/// Frees a classifier; null does nothing.
///
/// # Safety
/// `classifier` is null or was returned by bunjae_classifier_create, and is not used any more.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bunjae_classifier_free(classifier: *mut BunjaeClassifier) {
    if !classifier.is_null() {
        // SAFETY: `bunjae_classifier_create` made it from a box, and the caller gives it up.
        let owned = unsafe { Box::from_raw(classifier) };
        guarded(|| {
            drop(owned);
            Ok(())
        });
    }
}

/// The number of classes; 0 where `classifier` is null.
///
/// # Safety
/// `classifier` is null or was returned by bunjae_classifier_create.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bunjae_classifier_classes(classifier: *const BunjaeClassifier) -> usize {
    // SAFETY: this function's caller promises the same.
    guarded(|| Ok(unsafe { shared(classifier, "classifier") }?.labels.len())).unwrap_or(0)
}

/// The name of a class in UTF-8, empty where the model has no labels; null where there is no such
/// class. Lasts as long as the classifier.
///
/// # Safety
/// `classifier` is null or was returned by bunjae_classifier_create.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bunjae_class_label(
    classifier: *const BunjaeClassifier,
    index: usize,
) -> *const c_char {
    let label = guarded(|| {
        // SAFETY: this function's caller promises the same.
        let labels = &unsafe { shared(classifier, "classifier") }?.labels;
        let label = labels.get(index).map(|label| label.as_ptr());
        label.ok_or_else(|| format!("there is no class {index}, only {}", labels.len()))
    });
    label.unwrap_or(std::ptr::null())
}

/// Decodes a picture (JPEG, PNG, WebP, BMP or GIF) and writes its likeliest classes, the likeliest
/// first. `count` is the length of `classes`, and at most the number of classes.
///
/// # Safety
/// `classifier` is null or was returned by bunjae_classifier_create, and no other thread uses it;
/// `path` is null or a text in UTF-8 that ends with a zero; `classes` is null or leads to `count`
/// structs.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bunjae_classify_file(
    classifier: *mut BunjaeClassifier,
    path: *const c_char,
    classes: *mut BunjaeClass,
    count: usize,
) -> BunjaeStatus {
    status(|| {
        // SAFETY: this function's caller promises the same, here and for the two below.
        let classifier = &mut unsafe { exclusive(classifier, "classifier") }?.classifier;
        // SAFETY: as above.
        let path = unsafe { text(path, "path") }?;
        if count > classifier.classes() {
            let all = classifier.classes();
            return Err(format!("{count} classes were asked for, but the model has {all}"));
        }
        // SAFETY: as above.
        let classes = unsafe { elements_mut(classes, count, "classes") }?;
        let results = classifier.classify(&[Source::File(PathBuf::from(path))]);
        let result = results.map_err(|error| error.to_string())?.into_iter().next();
        let result = result.ok_or_else(|| "no answer".to_owned())?;
        let probabilities = result.map_err(|error| format!("{path}: {error}"))?;
        for (class, guess) in classes.iter_mut().zip(top(&probabilities, count)) {
            *class = BunjaeClass { index: guess.class, probability: guess.probability };
        }
        Ok(())
    })
}
