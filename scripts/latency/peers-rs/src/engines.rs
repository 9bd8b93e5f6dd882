//! The engines, each loading a model the way its documentation shows.

use std::error::Error;
use std::sync::Arc;

use crate::{Job, Run};

/// Loads the model of `job` with the engine of this name.
pub(crate) fn load(engine: &str, job: Job<'_>) -> Result<Run, Box<dyn Error>> {
    match engine {
        "bunjae" => bunjae(job),
        "tract" => tract(job),
        "rten" => rten(job),
        "ort" => ort(job),
        _ => Err(format!("no engine {engine}; there are bunjae, tract, rten, ort").into()),
    }
}

fn bunjae(job: Job<'_>) -> Result<Run, Box<dyn Error>> {
    use bunjae_engine::{CompileOptions, Input, Model, Output, Session};
    let graph = bunjae_onnx::import(job.model, &bunjae_onnx::Limits::default())?.graph;
    let model = Arc::new(Model::compile(&graph, &CompileOptions::batch(1))?);
    let elements = model.outputs().first().ok_or("a model without outputs")?.elements();
    let mut session = Session::with_threads(model, job.threads)?;
    Ok(Box::new(move |result| {
        result.resize(elements, 0.0);
        let input = Input::from(job.input.as_slice());
        session.run(&[input], &mut [Output::from(result.as_mut_slice())])?;
        Ok(())
    }))
}

fn tract(job: Job<'_>) -> Result<Run, Box<dyn Error>> {
    use tract_linalg::multithread::{Executor, set_default_executor};
    use tract_onnx::prelude::*;
    if job.threads > 1 {
        set_default_executor(Executor::multithread(job.threads));
    }
    let plan = tract_onnx::onnx()
        .model_for_path(job.model)?
        .with_input_fact(0, f32::fact(job.shape.as_slice()).into())?
        .into_optimized()?
        .into_runnable()?;
    let input = Tensor::from_shape(&job.shape, &job.input)?.into_tvalue();
    Ok(Box::new(move |result| {
        let outputs = plan.run(tvec!(input.clone()))?;
        let output = outputs.first().ok_or("a model without outputs")?;
        result.clear();
        result.extend(output.try_as_plain_ram()?.as_slice::<f32>()?);
        Ok(())
    }))
}

/// The number of threads is that of the variable `RTEN_NUM_THREADS`.
fn rten(job: Job<'_>) -> Result<Run, Box<dyn Error>> {
    use rten::{Model, ModelOptions, Value};
    use rten_tensor::Tensor;
    use rten_tensor::prelude::*;
    let model: Model = ModelOptions::with_all_ops().prepack_weights(true).load_file(job.model)?;
    let input = Value::from(Tensor::from_data(job.shape.as_slice(), job.input));
    Ok(Box::new(move |result| {
        let output: Tensor<f32> = model.run_one((&input).into(), None)?.try_into()?;
        result.clear();
        result.extend(output.iter());
        Ok(())
    }))
}

/// ONNX Runtime's library, found by `ORT_DYLIB_PATH`.
fn ort(job: Job<'_>) -> Result<Run, Box<dyn Error>> {
    use ort::session::Session;
    use ort::value::TensorRef;
    let mut session = Session::builder()
        .map_err(|error| error.to_string())?
        .with_intra_threads(job.threads)
        .map_err(|error| error.to_string())?
        .commit_from_file(job.model)
        .map_err(|error| error.to_string())?;
    Ok(Box::new(move |result| {
        let input = TensorRef::from_array_view((job.shape.clone(), job.input.as_slice()))?;
        let outputs = session.run(ort::inputs![input])?;
        let (_, elements) = outputs[0].try_extract_tensor::<f32>()?;
        result.clear();
        result.extend(elements);
        Ok(())
    }))
}
