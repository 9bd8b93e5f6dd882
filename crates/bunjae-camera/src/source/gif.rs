//! GIF animations.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bunjae_data::Picture;
use bunjae_data::animation::Animation;
use bunjae_data::decode::Limits;

use super::{Read, Source, SourceError};

pub(crate) struct Gif {
    path: PathBuf,
    frames: Animation<'static>,
    /// Instead of what the file says.
    lasts: Option<Duration>,
}

impl Gif {
    pub(crate) fn open(
        path: &Path,
        limits: Limits,
        lasts: Option<Duration>,
    ) -> Result<Gif, SourceError> {
        let failed = |why: String| SourceError::failed(path.display(), why, "");
        let file = File::open(path).map_err(|error| failed(error.to_string()))?;
        let frames = Animation::gif(BufReader::new(file), limits);
        let frames = frames.map_err(|error| failed(error.to_string()))?;
        Ok(Gif { path: path.to_owned(), frames, lasts })
    }
}

impl Source for Gif {
    fn describe(&self) -> String {
        format!("GIF animation {}", self.path.display())
    }

    fn read(&mut self, picture: &mut Picture) -> Result<Read, SourceError> {
        match self.frames.next() {
            None => Ok(Read::End),
            Some(frame) => {
                let frame = frame?;
                *picture = frame.picture;
                Ok(Read::Paced { lasts: self.lasts.unwrap_or(frame.lasts) })
            }
        }
    }
}
