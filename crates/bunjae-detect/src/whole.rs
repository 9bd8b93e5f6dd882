//! No detector: the whole frame.

use bunjae_data::Picture;

use crate::detection::{DetectError, Detection, Detector, Rect};

/// Takes every picture for one face that fills it: for cameras in front of which there is nothing
/// else, and for models of whole pictures.
#[derive(Clone, Copy, Debug, Default)]
pub struct WholeFrame;

impl Detector for WholeFrame {
    fn detect(&mut self, picture: &Picture) -> Result<Vec<Detection>, DetectError> {
        let (width, height) = (picture.width() as f32, picture.height() as f32);
        let area = Rect { left: 0.0, top: 0.0, width, height };
        Ok(vec![Detection { area, score: 1.0, class: 0, landmarks: None }])
    }

    fn name(&self) -> String {
        "whole frame".to_owned()
    }

    fn classes(&self) -> &'static [&'static str] {
        &["frame"]
    }
}

#[cfg(test)]
mod tests {
    use bunjae_data::Channels;

    use super::*;
    use crate::crop;

    #[test]
    fn the_whole_frame_is_found_to_the_last_pixel() {
        let picture = Picture::filled(7, 5, Channels::Rgb, [1, 2, 3]);
        let found = WholeFrame.detect(&picture).unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!(crop(&picture, &found[0].area, 0.2), Some(picture));
    }
}
