//! Which weights a run leaves as they are.

use std::collections::BTreeSet;

use bunjae_ir::{Graph, Node, Source};

use crate::error::TrainError;

/// The weights that patterns name, by their own names or by those of the layers that use them:
/// exporters of ONNX call a layer `Conv_12` where its weight is `features.2.conv.weight`.
pub(crate) struct Frozen {
    weights: BTreeSet<String>,
}

impl Frozen {
    /// Patterns in which `*` and `?` stand for any text and any character, and a name for everything
    /// below it.
    ///
    /// # Errors
    /// [`TrainError::Setting`] for a pattern that no layer or weight has, as it is mistyped.
    pub(crate) fn new(graph: &Graph, patterns: &[String]) -> Result<Frozen, TrainError> {
        let users = graph.users();
        let mut used = vec![false; patterns.len()];
        let mut weights = BTreeSet::new();
        for &id in graph.weights() {
            let name = graph.label(id);
            let layers = users[id.index()].iter().map(|&node| graph.node(node).name.as_str());
            let names: Vec<&str> = layers.chain([name.as_str()]).collect();
            for (pattern, used) in patterns.iter().zip(&mut used) {
                if names.iter().any(|name| fits(pattern, name)) {
                    *used = true;
                    weights.insert(name.clone());
                }
            }
        }
        for (pattern, used) in patterns.iter().zip(used) {
            // A layer without weights may be named: there is nothing in it to change.
            if !used && !graph.nodes().iter().any(|node| fits(pattern, &node.name)) {
                let what = format!("no layer and no weight is called `{pattern}`");
                return Err(TrainError::setting("freeze", what));
            }
        }
        Ok(Frozen { weights })
    }

    /// Whether a weight stays as it is.
    pub(crate) fn weight(&self, name: &str) -> bool {
        self.weights.contains(name)
    }

    /// Whether all weights of a layer stay as they are. A batch normalisation then keeps its running
    /// statistics and uses them, as it does when the model is used.
    pub(crate) fn layer(&self, graph: &Graph, node: &Node) -> bool {
        let mut weights = node.inputs.iter().filter_map(|&id| match &graph.value(id).source {
            Source::Weight { name, .. } => Some(name),
            _ => None,
        });
        weights.all(|name| self.weights.contains(name))
    }
}

/// Whether a name is meant by a pattern.
fn fits(pattern: &str, name: &str) -> bool {
    let below = format!("{pattern}.*");
    wildmatch::WildMatch::new(pattern).matches(name)
        || wildmatch::WildMatch::new(&below).matches(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Layers and weights with the names that exporters give them.
    const NET: &str = "graph @net
in   %x: f32[N,1,4,4]
w    @a.0.weight: f32[2,1,1,1] = rand(seed=1)
w    @a.1.weight: f32[2] = [1, 1]
w    @a.1.bias: f32[2] = [0, 0]
w    @a.1.mean: f32[2] frozen = [0, 0]
w    @a.1.var: f32[2] frozen = [1, 1]
%1 = conv2d %x, @a.0.weight : f32[N,2,4,4] ; \"Conv_0\"
%2 = batch_norm %1, @a.1.weight, @a.1.bias, @a.1.mean, @a.1.var : f32[N,2,4,4] ; \"Norm_1\"
%3 = relu %2 : f32[N,2,4,4] ; \"Relu_2\"
out  %3 ; \"y\"
";

    #[test]
    fn layers_are_found_by_their_names_and_those_of_their_weights() {
        let graph = Graph::parse(NET).unwrap();
        let frozen = |patterns: &[&str]| {
            let patterns: Vec<String> = patterns.iter().map(|&p| p.to_owned()).collect();
            let frozen = Frozen::new(&graph, &patterns).unwrap();
            let norm = graph.nodes().iter().find(|node| node.name == "Norm_1").unwrap();
            (
                frozen.weights.iter().cloned().collect::<Vec<_>>().join(" "),
                frozen.layer(&graph, norm),
            )
        };
        let norm = "a.1.bias a.1.mean a.1.var a.1.weight";
        assert_eq!(frozen(&[]), (String::new(), false));
        assert_eq!(frozen(&["Conv_?"]), ("a.0.weight".to_owned(), false));
        assert_eq!(frozen(&["Norm_1"]), (norm.to_owned(), true));
        assert_eq!(frozen(&["a.1"]), (norm.to_owned(), true));
        assert_eq!(frozen(&["a"]), (format!("a.0.weight {norm}"), true));
        // The statistics still follow the pictures where only the factors stay.
        assert_eq!(frozen(&["a.1.weight"]), ("a.1.weight".to_owned(), false));
        assert_eq!(frozen(&["Relu_2"]), (String::new(), false));
        let refused = Frozen::new(&graph, &["b".to_owned()]).err().unwrap().to_string();
        assert_eq!(refused, "freeze: no layer and no weight is called `b`");
    }
}
