//! Every method of every path present against plain arithmetic on lanes.

use super::{Body, MAX_LANES, Simd, entry};
use crate::isa::IsaSet;

struct Checks;

impl Body<()> for Checks {
    #[inline(always)]
    unsafe fn run<S: Simd>(_: &()) {
        let l = S::LANES;
        let a: Vec<f32> = (0..l).map(|i| i as f32 * 1.5 - 3.0).collect();
        let b: Vec<f32> = (0..l).map(|i| 4.0 - i as f32).collect();
        let c: Vec<f32> = (0..l).map(|i| 0.25 * i as f32).collect();
        let read = |v: S::V| {
            let mut out = [0.0f32; MAX_LANES];
            // SAFETY: the buffer holds the widest vector; the test runs available paths only.
            unsafe { S::store(out.as_mut_ptr(), v) };
            out[..l].to_vec()
        };
        // SAFETY: the slices have LANES elements; the test runs available paths only.
        unsafe {
            let (va, vb, vc) = (S::load(a.as_ptr()), S::load(b.as_ptr()), S::load(c.as_ptr()));
            let lanes = |f: &dyn Fn(usize) -> f32| (0..l).map(f).collect::<Vec<f32>>();
            assert_eq!(read(S::splat(2.5)), vec![2.5; l]);
            assert_eq!(read(S::add(va, vb)), lanes(&|i| a[i] + b[i]));
            assert_eq!(read(S::sub(va, vb)), lanes(&|i| a[i] - b[i]));
            assert_eq!(read(S::mul(va, vb)), lanes(&|i| a[i] * b[i]));
            assert_eq!(read(S::div(vc, S::splat(0.5))), lanes(&|i| c[i] / 0.5));
            assert_eq!(read(S::sqrt(vc)), lanes(&|i| c[i].sqrt()));
            // Small dyadic values: exact whether fused or not.
            assert_eq!(read(S::fma(va, vb, vc)), lanes(&|i| a[i] * b[i] + c[i]));
            assert_eq!(read(S::max(va, vb)), lanes(&|i| a[i].max(b[i])));
            assert_eq!(read(S::min(va, vb)), lanes(&|i| a[i].min(b[i])));
            assert_eq!(
                read(S::select(S::lt(va, vb), va, vb)),
                lanes(&|i| if a[i] < b[i] { a[i] } else { b[i] })
            );
            let halves = [-2.5f32, -1.5, -0.5, 0.5, 1.5, 2.5, 0.49, 1.51].repeat(2);
            let rounded = read(S::round(S::load(halves.as_ptr())));
            assert_eq!(rounded, lanes(&|i| halves[i].round_ties_even()));
            let powers = [-126.0f32, -1.0, 0.0, 127.0, 3.0, 10.0, -20.0, 1.0].repeat(2);
            let exp2 = read(S::exp2_int(S::load(powers.as_ptr())));
            assert_eq!(exp2, lanes(&|i| powers[i].exp2()));

            let nan = S::splat(f32::NAN);
            assert!(read(S::max(va, nan)).iter().all(|x| x.is_nan()));
            assert!(read(S::min(va, nan)).iter().all(|x| x.is_nan()));
            for v in [S::max_nan(va, nan), S::max_nan(nan, va), S::min_nan(nan, va)] {
                assert!(read(v).iter().all(|x| x.is_nan()));
            }
            assert_eq!(read(S::select(S::lt(nan, va), va, vb)), b);
            assert!(S::any_nan(nan) && !S::any_nan(S::add(va, S::splat(f32::INFINITY))));
            for lane in 0..l {
                let one = lanes(&|i| if i == lane { f32::NAN } else { a[i] });
                assert!(S::any_nan(S::load(one.as_ptr())), "lane {lane}");
            }

            let all: Vec<f32> = (0..4 * l).map(|i| i as f32).collect();
            let fourths = [0, 1, 2, 3].map(|v| S::load(all.as_ptr().add(v * l)));
            let parts = S::deinterleave4(fourths);
            for (at, part) in parts.into_iter().enumerate() {
                assert_eq!(read(part), lanes(&|i| (4 * i + at) as f32));
            }
            let back: Vec<f32> = S::interleave4(parts).into_iter().flat_map(read).collect();
            assert_eq!(back, all);

            let keep = lanes(&|i| if i % 3 == 0 { f32::from_bits(u32::MAX) } else { 0.0 });
            let kept = read(S::and(va, S::load(keep.as_ptr())));
            assert_eq!(kept, lanes(&|i| if i % 3 == 0 { a[i] } else { 0.0 }));
            let cleared = read(S::and(nan, S::zero()));
            assert_eq!(cleared, vec![0.0; l], "a cleared NaN is zero");

            let (even, odd) = S::deinterleave(va, vb);
            let both: Vec<f32> = a.iter().chain(&b).copied().collect();
            assert_eq!(read(even), lanes(&|i| both[2 * i]));
            assert_eq!(read(odd), lanes(&|i| both[2 * i + 1]));
            let (lo, hi) = S::interleave(even, odd);
            assert_eq!((read(lo), read(hi)), (a.clone(), b.clone()));
            let (split_even, split_odd) = S::split(va, vb);
            assert_eq!(read(S::in_order(split_even)), read(even));
            assert_eq!(read(S::in_order(split_odd)), read(odd));
            assert_eq!(read(S::out_of_order(even)), read(split_even));
            let (lo, hi) = S::join(split_even, split_odd);
            assert_eq!((read(lo), read(hi)), (a.clone(), b.clone()));

            assert_eq!(S::sum(va), a.iter().sum::<f32>());

            let mut square = [S::zero(); MAX_LANES];
            for (r, row) in square.iter_mut().enumerate().take(l) {
                let values = lanes(&|i| (r * l + i) as f32);
                *row = S::load(values.as_ptr());
            }
            S::transpose(&mut square);
            for (r, row) in square.iter().enumerate().take(l) {
                assert_eq!(read(*row), lanes(&|i| (i * l + r) as f32));
            }

            for n in 1..l {
                let loaded = read(S::load_partial(a.as_ptr(), n));
                assert_eq!(loaded, lanes(&|i| if i < n { a[i] } else { 0.0 }));
                let mut out = vec![-7.0f32; l];
                S::store_partial(out.as_mut_ptr(), va, n);
                assert_eq!(out, lanes(&|i| if i < n { a[i] } else { -7.0 }));
            }
        }
    }
}

#[test]
fn every_path_present_agrees_with_plain_arithmetic() {
    for isa in IsaSet::available().iter() {
        // SAFETY: the path is available and the body takes no pointers.
        unsafe { entry::<Checks, ()>(isa)(&()) }
    }
}
