//! Times each part of an event's path: `make bench`.

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use lapwing_bench::{Part, Prepared};

fn parts(criterion: &mut Criterion) {
    for part in Part::ALL {
        criterion.bench_function(part.name(), |bencher| {
            bencher.iter_batched(|| part.prepare(), Prepared::run, BatchSize::PerIteration);
        });
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20);
    targets = parts
}
criterion_main!(benches);
