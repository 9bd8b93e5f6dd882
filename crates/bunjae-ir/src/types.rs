//! The type of a tensor in a graph.

use std::fmt;

use bunjae_tensor::DType;

use crate::dim::{Bindings, Dim, DimError};

/// Element type and dimensions, printed as `f32[N,3,224,224]`.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct TensorType {
    /// The element type.
    pub dtype: DType,
    /// The dimensions, outermost first. Pictures are `[batch, channels, height, width]`.
    pub dims: Vec<Dim>,
}

impl TensorType {
    /// A type from its parts; dimensions may be numbers or symbol names.
    pub fn new(dtype: DType, dims: impl IntoIterator<Item = impl Into<Dim>>) -> Self {
        TensorType { dtype, dims: dims.into_iter().map(Into::into).collect() }
    }

    /// The usual input of an image network: `f32[N,channels,height,width]`.
    pub fn image(channels: usize, height: usize, width: usize) -> Self {
        let dims = [Dim::symbol("N"), channels.into(), height.into(), width.into()];
        TensorType { dtype: DType::F32, dims: dims.to_vec() }
    }

    /// The number of dimensions.
    pub fn rank(&self) -> usize {
        self.dims.len()
    }

    /// The dimensions, where all are known.
    pub fn fixed_shape(&self) -> Option<Vec<usize>> {
        self.dims.iter().map(Dim::fixed).collect()
    }

    /// The dimensions under the given values for symbols.
    ///
    /// # Errors
    /// A symbol without a value, or a size that comes out negative or too large.
    pub fn shape(&self, bindings: &Bindings) -> Result<Vec<usize>, DimError> {
        self.dims.iter().map(|dim| dim.eval(bindings)).collect()
    }

    /// The type with the given symbols replaced by their values.
    ///
    /// # Errors
    /// A size that comes out negative or too large.
    pub fn bind(&self, bindings: &Bindings) -> Result<TensorType, DimError> {
        let dims = self.dims.iter().map(|dim| dim.bind(bindings)).collect::<Result<_, _>>()?;
        Ok(TensorType { dtype: self.dtype, dims })
    }

    /// Reads the form that `Display` writes.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub fn parse(text: &str) -> Result<TensorType, String> {
        let (dtype, dims) = text
            .strip_suffix(']')
            .and_then(|text| text.split_once('['))
            .ok_or_else(|| format!("expected a type such as f32[N,3,8,8], found `{text}`"))?;
        let dims = if dims.trim().is_empty() {
            Vec::new()
        } else {
            dims.split(',').map(Dim::parse).collect::<Result<_, _>>()?
        };
        Ok(TensorType { dtype: dtype.trim().parse()?, dims })
    }
}

impl fmt::Display for TensorType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[", self.dtype)?;
        for (index, dim) in self.dims.iter().enumerate() {
            write!(f, "{}{dim}", if index > 0 { "," } else { "" })?;
        }
        f.write_str("]")
    }
}

impl fmt::Debug for TensorType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_print_and_parse() {
        for text in ["f32[N,3,8,8]", "i8[]", "f64[(H+1)/2,W*2]"] {
            assert_eq!(TensorType::parse(text).unwrap().to_string(), text);
        }
        for bad in ["f32", "f16[1]", "f32[1,]", "f32[1"] {
            assert!(TensorType::parse(bad).is_err(), "{bad}");
        }
    }
}
