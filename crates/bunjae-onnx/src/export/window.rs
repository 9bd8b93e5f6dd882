//! Convolutions, pools, and what else is particular to pictures.

use bunjae_ir::Dim;
use bunjae_ir::op::{
    AveragePool, Conv2d, ConvTranspose2d, Coordinates, DepthOrder, DepthToSpace, GlobalPool,
    Groups, MaxPool, Reduction, Resize, ResizeMode, ResizeTo, Rounding,
};

use super::ExportError;
use super::node::{Attributes, NodeWriter, int, ints, word};

type Result<T> = std::result::Result<T, ExportError>;

/// The attributes of a window, those that have their default left out.
fn window(
    node: &NodeWriter<'_, '_>,
    kernel: &[usize],
    stride: [usize; 2],
    dilation: [usize; 2],
    pad: [usize; 4],
) -> Result<Attributes> {
    let mut attributes = vec![
        ints("kernel_shape", node.ints(kernel)?),
        ints("strides", node.ints(&stride)?),
        ints("pads", node.ints(&pad)?),
    ];
    // Pools do not have them in every operator set.
    if dilation != [1, 1] {
        attributes.push(ints("dilations", node.ints(&dilation)?));
    }
    Ok(attributes)
}

/// The height and width of a convolution's kernel.
fn kernel(node: &NodeWriter<'_, '_>) -> Result<Vec<usize>> {
    let weight = node.ty(1);
    let sizes: Option<Vec<usize>> = weight.dims.iter().skip(2).map(Dim::fixed).collect();
    sizes.ok_or_else(|| node.unknown("the size of the kernel"))
}

fn group(node: &NodeWriter<'_, '_>, groups: Groups) -> Result<i64> {
    match groups {
        Groups::Dense => Ok(1),
        Groups::Grouped(count) => node.int(count),
        Groups::Depthwise => match node.ty(0).dims.get(1) {
            Some(&Dim::Fixed(channels)) => node.int(channels),
            _ => Err(node.unknown("the number of channels")),
        },
    }
}

pub(super) fn conv(node: &mut NodeWriter<'_, '_>, op: &Conv2d) -> Result<()> {
    let mut attributes = window(node, &kernel(node)?, op.stride, op.dilation, op.pad)?;
    attributes.push(int("group", group(node, op.groups)?));
    node.main("Conv", attributes);
    Ok(())
}

pub(super) fn conv_transpose(node: &mut NodeWriter<'_, '_>, op: &ConvTranspose2d) -> Result<()> {
    let mut attributes = window(node, &kernel(node)?, op.stride, op.dilation, op.pad)?;
    attributes.push(int("group", group(node, op.groups)?));
    if op.output_pad != [0, 0] {
        attributes.push(ints("output_padding", node.ints(&op.output_pad)?));
    }
    node.main("ConvTranspose", attributes);
    Ok(())
}

pub(super) fn max_pool(node: &mut NodeWriter<'_, '_>, op: &MaxPool) -> Result<()> {
    let mut attributes = window(node, &op.kernel, op.stride, op.dilation, op.pad)?;
    if op.ceil {
        attributes.push(int("ceil_mode", 1));
    }
    node.main("MaxPool", attributes);
    Ok(())
}

pub(super) fn average_pool(node: &mut NodeWriter<'_, '_>, op: &AveragePool) -> Result<()> {
    let mut attributes = window(node, &op.kernel, op.stride, op.dilation, op.pad)?;
    if op.ceil {
        attributes.push(int("ceil_mode", 1));
    }
    if op.count_pad {
        attributes.push(int("count_include_pad", 1));
    }
    node.main("AveragePool", attributes);
    Ok(())
}

pub(super) fn global_pool(node: &mut NodeWriter<'_, '_>, op: &GlobalPool) {
    // No other reduction is well typed.
    let max = op.kind == Reduction::Max;
    node.main(if max { "GlobalMaxPool" } else { "GlobalAveragePool" }, vec![]);
}

pub(super) fn depth_to_space(node: &mut NodeWriter<'_, '_>, op: &DepthToSpace) -> Result<()> {
    let mut attributes = vec![int("blocksize", node.int(op.block)?)];
    if node.opset() >= 11 {
        let mode = match op.order {
            DepthOrder::DepthColumnRow => "DCR",
            DepthOrder::ColumnRowDepth => "CRD",
        };
        attributes.push(word("mode", mode));
    }
    node.main("DepthToSpace", attributes);
    Ok(())
}

pub(super) fn resize(node: &mut NodeWriter<'_, '_>, op: &Resize) -> Result<()> {
    let opset = node.opset();
    let mode = match op.mode {
        ResizeMode::Nearest => "nearest",
        ResizeMode::Linear => "linear",
    };
    let mut attributes = vec![word("mode", mode)];
    let mut inputs = vec![node.x()];
    if opset < 11 {
        // Only scales get here; see `opset::needed`.
        if let ResizeTo::Scale([height, width]) = op.to {
            inputs.push(node.floats("scales", &[1.0, 1.0, height, width]));
        }
        let name = if opset < 10 { "Upsample" } else { "Resize" };
        node.main_on(name, inputs, attributes);
        return Ok(());
    }
    let coordinates = match op.coordinates {
        Coordinates::HalfPixel => "half_pixel",
        Coordinates::PytorchHalfPixel => "pytorch_half_pixel",
        Coordinates::AlignCorners => "align_corners",
        Coordinates::Asymmetric => "asymmetric",
    };
    attributes.push(word("coordinate_transformation_mode", coordinates));
    let rounding = match op.rounding {
        Rounding::Floor => "floor",
        Rounding::Ceil => "ceil",
        Rounding::RoundPreferFloor => "round_prefer_floor",
        Rounding::RoundPreferCeil => "round_prefer_ceil",
    };
    attributes.push(word("nearest_mode", rounding));
    // The region of interest and, with sizes, the scales may be left out since set 13.
    let nothing = if opset < 13 { node.floats("nothing", &[]) } else { String::new() };
    inputs.push(nothing.clone());
    match op.to {
        ResizeTo::Scale([height, width]) => {
            inputs.push(node.floats("scales", &[1.0, 1.0, height, width]));
        }
        ResizeTo::Size([height, width]) => {
            let size = [node.int(height)?, node.int(width)?];
            inputs.push(nothing);
            inputs.push(sizes(node, size, &mut attributes)?);
        }
    }
    node.main_on("Resize", inputs, attributes);
    Ok(())
}

/// The sizes of the result: batch and channels stay as they are.
fn sizes(
    node: &mut NodeWriter<'_, '_>,
    size: [i64; 2],
    attributes: &mut Attributes,
) -> Result<String> {
    if node.opset() >= 18 {
        attributes.push(ints("axes", vec![2, 3]));
        return Ok(node.list("sizes", &size));
    }
    if let [Dim::Fixed(batch), Dim::Fixed(channels), ..] = node.ty(0).dims.as_slice() {
        let sizes = [node.int(*batch)?, node.int(*channels)?, size[0], size[1]];
        return Ok(node.list("sizes", &sizes));
    }
    let x = node.x();
    let shape = node.part("shape", "Shape", &[&x], vec![]);
    let kept = node.range("kept", &shape, 0, 2);
    let size = node.list("size", &size);
    Ok(node.part("sizes", "Concat", &[&kept, &size], vec![int("axis", 0)]))
}
