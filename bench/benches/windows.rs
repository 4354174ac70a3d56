//! Times one event of a window that holds a million: counted, what has gone dropped, the window read. `cargo bench -p lapwing-bench --bench windows`

use criterion::{Criterion, criterion_group, criterion_main};
use lapwing_bench::window::Full;

fn windows(criterion: &mut Criterion) {
    for (name, aggregate) in Full::ALL {
        let mut full = Full::new(aggregate);
        criterion.bench_function(name, |bencher| bencher.iter(|| full.event()));
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20);
    targets = windows
}
criterion_main!(benches);
