//! End-to-end scenarios of Lambfold; see `scenarios/`. The suites of other languages lie in `python/`.
