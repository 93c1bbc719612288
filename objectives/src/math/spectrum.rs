//! Eigenvalues of small symmetric matrices, and the effective rank of features.
//!
//! Host arithmetic in f64 and in a fixed order: the same bits for any number of threads.

/// Eigenvalues of a symmetric matrix, in no particular order.
///
/// Householder's reduction to a tridiagonal matrix, then implicit QR steps with Wilkinson's shift (Golub and
/// Van Loan, Matrix Computations, 4th ed., algorithms 8.3.1 and 8.3.2): a tenth of the work of Jacobi's
/// rotations. Accurate to rounding of the largest eigenvalue. `matrix` is `[n, n]`, row-major, and finite.
///
/// # Panics
/// If `matrix` is not `[n, n]`.
pub fn symmetric_eigenvalues(mut matrix: Vec<f64>, n: usize) -> Vec<f64> {
    assert_eq!(matrix.len(), n * n, "a symmetric matrix of side {n}");
    let scale = matrix.iter().fold(0.0, |largest: f64, value| largest.max(value.abs()));
    if scale == 0.0 || !scale.is_finite() {
        return vec![scale; n];
    }
    let (mut diagonal, mut beside) = tridiagonal(&mut matrix, n);
    diagonalise(&mut diagonal, &mut beside, scale * f64::EPSILON);
    diagonal
}

/// Diagonal and its neighbour of the tridiagonal matrix with the same eigenvalues.
fn tridiagonal(a: &mut [f64], n: usize) -> (Vec<f64>, Vec<f64>) {
    let mut beside = vec![0.0; n.saturating_sub(1)];
    let (mut v, mut w) = (vec![0.0; n], vec![0.0; n]);
    for k in 0..n.saturating_sub(1) {
        let below = k + 1..n;
        for i in below.clone() {
            v[i] = a[i * n + k];
        }
        let norm = dot(&v[below.clone()], &v[below.clone()]).sqrt();
        // The reflection that turns the column into a multiple of the first axis; the sign avoids cancellation.
        beside[k] = -norm.copysign(v[k + 1]);
        v[k + 1] -= beside[k];
        let squared = dot(&v[below.clone()], &v[below.clone()]);
        if squared == 0.0 {
            continue;
        }
        for i in below.clone() {
            w[i] = 2.0 / squared * dot(&a[i * n + k + 1..(i + 1) * n], &v[below.clone()]);
        }
        let along = dot(&w[below.clone()], &v[below.clone()]) / squared;
        for i in below.clone() {
            w[i] -= along * v[i];
        }
        for i in below.clone() {
            let (vi, wi) = (v[i], w[i]);
            let row = a[i * n + k + 1..(i + 1) * n].iter_mut();
            for (entry, (vj, wj)) in row.zip(v[below.clone()].iter().zip(&w[below.clone()])) {
                *entry -= vi * wj + wi * vj;
            }
        }
    }
    ((0..n).map(|i| a[i * n + i]).collect(), beside)
}

/// Turns the diagonal `d` of a tridiagonal matrix into its eigenvalues; `e` stands beside it. What is at most
/// `negligible` counts as zero.
fn diagonalise(d: &mut [f64], e: &mut [f64], negligible: f64) {
    // Two steps per eigenvalue are usual; the bound only keeps a fault from running for ever.
    let mut budget = 64 * d.len();
    let mut high = d.len().saturating_sub(1);
    while high > 0 && budget > 0 {
        if e[high - 1].abs() <= negligible {
            high -= 1;
            continue;
        }
        let low = (0..high).rev().find(|&i| e[i].abs() <= negligible).map_or(0, |i| i + 1);
        qr_step(&mut d[low..=high], &mut e[low..high]);
        budget -= 1;
    }
}

/// One implicit QR step on an unreduced tridiagonal matrix.
fn qr_step(d: &mut [f64], e: &mut [f64]) {
    let last = d.len() - 1;
    let (half_gap, corner) = ((d[last - 1] - d[last]) / 2.0, e[last - 1]);
    let shift = d[last] - corner * corner / (half_gap + half_gap.hypot(corner).copysign(half_gap));
    let (mut x, mut bulge) = (d[0] - shift, e[0]);
    for k in 0..last {
        let r = x.hypot(bulge);
        let (c, s) = if r == 0.0 { (1.0, 0.0) } else { (x / r, bulge / r) };
        if k > 0 {
            e[k - 1] = r;
        }
        let (above, between, below) = (d[k], e[k], d[k + 1]);
        d[k] = c * c * above + 2.0 * c * s * between + s * s * below;
        d[k + 1] = s * s * above - 2.0 * c * s * between + c * c * below;
        e[k] = (c * c - s * s) * between + c * s * (below - above);
        if k + 1 < last {
            (x, bulge) = (e[k], s * e[k + 1]);
            e[k + 1] *= c;
        }
    }
}

/// Effective rank of features (Roy and Vetterli, EUSIPCO 2007): `exp(-sum p log p)` with `p` the singular
/// values of the centred features over their sum.
///
/// It lies between 1, all features on a line, and `min(n - 1, d)`, spread evenly over all directions. Features
/// that are all the same have no direction: 0, our convention. Singular values that rounding to f32 could have
/// made are taken as zero, so that collapsed features do not show the rank of their rounding errors.
///
/// # Shapes
/// - `features`: `[n, d]`, row-major, with `d = width`; output: scalar
///
/// # Panics
/// If `features` is no whole number of rows.
pub fn effective_rank(features: &[f32], width: usize) -> f64 {
    assert!(width > 0 && features.len().is_multiple_of(width), "{} values are no rows of {width}", features.len());
    let n = features.len() / width;
    if n < 2 || !features.iter().all(|value| value.is_finite()) {
        return 0.0;
    }
    let mut mean = vec![0.0; width];
    for row in features.chunks_exact(width) {
        for (mean, &value) in mean.iter_mut().zip(row) {
            *mean += f64::from(value) / n as f64;
        }
    }
    // Samples or channels, whichever are fewer, become the sides of the Gram matrix: both have the same
    // eigenvalues but for zeros.
    let (side, length) = if n <= width { (n, width) } else { (width, n) };
    let mut centred = vec![0.0; n * width]; // [side, length]
    for (i, row) in features.chunks_exact(width).enumerate() {
        for (j, (&value, mean)) in row.iter().zip(&mean).enumerate() {
            let at = if n <= width { i * length + j } else { j * length + i };
            centred[at] = f64::from(value) - mean;
        }
    }
    let mut gram = vec![0.0; side * side]; // [side, side]
    for i in 0..side {
        for j in 0..=i {
            let product = dot(&centred[i * length..(i + 1) * length], &centred[j * length..(j + 1) * length]);
            (gram[i * side + j], gram[j * side + i]) = (product, product);
        }
    }
    let size = features.iter().map(|&value| f64::from(value) * f64::from(value)).sum::<f64>().sqrt();
    let noise = size * f64::from(f32::EPSILON);
    let singular = symmetric_eigenvalues(gram, side).into_iter().map(|value| value.max(0.0).sqrt());
    let singular: Vec<f64> = singular.filter(|&value| value > noise).collect();
    let sum: f64 = singular.iter().sum();
    if singular.is_empty() {
        return 0.0;
    }
    let entropy: f64 = singular.iter().map(|value| value / sum).map(|p| -p * p.ln()).sum();
    entropy.exp()
}

/// Sum of products in four fixed lanes, which compilers turn into vector instructions.
fn dot(a: &[f64], b: &[f64]) -> f64 {
    let mut lanes = [0.0; 4];
    let (a, b) = (a.chunks_exact(4), b.chunks_exact(4));
    let tail: f64 = a.remainder().iter().zip(b.remainder()).map(|(x, y)| x * y).sum();
    for (a, b) in a.zip(b) {
        for (lane, (x, y)) in lanes.iter_mut().zip(a.iter().zip(b)) {
            *lane += x * y;
        }
    }
    (lanes[0] + lanes[2]) + (lanes[1] + lanes[3]) + tail
}
