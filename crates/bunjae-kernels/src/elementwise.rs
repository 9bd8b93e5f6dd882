//! Element by element.
/// One of each kind.
#[cfg(test)]
pub(crate) const ACTIVATIONS: [crate::Activation; 14] = {
    use crate::Activation as A;
    [
        A::Identity,
        A::Relu,
        A::Clip { lo: -0.25, hi: 0.75 },
        A::LeakyRelu { slope: 0.2 },
        A::Prelu,
        A::Elu { alpha: 0.7 },
        A::Sigmoid,
        A::HardSigmoid { alpha: 0.2, beta: 0.5 },
        A::HardSwish,
        A::Silu,
        A::Tanh,
        A::Gelu,
        A::GeluTanh,
        A::Exp,
    ]
};
