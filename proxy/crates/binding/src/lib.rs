//! `proxy._engine`: the engine for Python. This crate translates and decides nothing.
//!
//! Every call that can take longer than a few microseconds releases the GIL.

use pyo3::pymodule;

#[pymodule]
mod _engine {
    use std::time::Duration;

    use pyo3::exceptions::{PyOSError, PyValueError};
    use pyo3::prelude::*;
    use pyo3::types::PyBytes;
    use serde::Serialize;
    use spanway_engine::trace::{Batch, Resource};

    /// A running data plane; `proxy/engine.py` is its face.
    #[pyclass(frozen)]
    struct Engine(spanway_engine::Engine);

    #[pymethods]
    impl Engine {
        #[new]
        fn new(
            workers: usize,
            resource: Vec<(String, String)>,
            span_queue_bytes: usize,
            requests_live_max: u64,
        ) -> PyResult<Self> {
            if workers == 0 {
                return Err(PyValueError::new_err("an engine needs at least one worker"));
            }
            let resource = Resource {
                attributes: resource,
            };
            let engine = spanway_engine::Engine::start(
                workers,
                &resource,
                span_queue_bytes,
                requests_live_max,
            );
            engine
                .map(Self)
                .map_err(|err| PyOSError::new_err(err.to_string()))
        }

        /// JSON in (`proxy.table.Update`), JSON out (a list of `proxy.table.Rejected`).
        fn publish<'py>(&self, py: Python<'py>, update: &[u8]) -> PyResult<Bound<'py, PyBytes>> {
            let rejected = py.detach(|| self.0.publish(update));
            json(py, &rejected)
        }

        /// What the published table does with a request; JSON (`proxy.engine.Match`) or None.
        fn explain<'py>(
            &self,
            py: Python<'py>,
            host: &str,
            path: &str,
        ) -> PyResult<Option<Bound<'py, PyBytes>>> {
            self.0
                .explain(host, path)
                .map(|matched| json(py, &matched))
                .transpose()
        }

        /// JSON (`proxy.engine.Stats`).
        fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
            json(py, &self.0.stats())
        }

        /// JSON (a list of `proxy.engine.EndpointHealth`).
        fn health<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
            let health = py.detach(|| self.0.health());
            json(py, &health)
        }

        /// Readable when span batches wait to be taken.
        fn spans_fd(&self) -> i32 {
            self.0.spans().ready_fd()
        }

        /// All batches that wait, put end to end up to `bytes_max` each (a longer one stays alone):
        /// OTLP bytes and the number of spans in them.
        fn take_spans<'py>(
            &self,
            py: Python<'py>,
            bytes_max: usize,
        ) -> PyResult<Vec<(Bound<'py, PyBytes>, usize)>> {
            let spans = self.0.spans();
            let batches = spans.take(usize::MAX);
            let joined = joinable(&batches, bytes_max)
                .map(|group| joined(py, group))
                .collect();
            for batch in batches {
                spans.recycle(batch.otlp);
            }
            joined
        }

        /// Stops accepting, lets requests finish for that long, then cuts them.
        fn stop(&self, py: Python<'_>, deadline_s: f64) -> PyResult<()> {
            let deadline = Duration::try_from_secs_f64(deadline_s)
                .map_err(|err| PyValueError::new_err(err.to_string()))?;
            py.detach(|| self.0.stop(deadline));
            Ok(())
        }
    }

    /// The batches in runs of at most `bytes_max` bytes, or of one batch.
    fn joinable(batches: &[Batch], bytes_max: usize) -> impl Iterator<Item = &[Batch]> {
        let mut bytes = 0;
        batches.chunk_by(move |before, next| {
            bytes += before.otlp.len();
            let fits = bytes + next.otlp.len() <= bytes_max;
            if !fits {
                bytes = 0;
            }
            fits
        })
    }

    /// Protobuf messages put end to end are one message with all of their fields.
    /// Source: Protocol Buffers, "Encoding", section "Last One Wins".
    fn joined<'py>(py: Python<'py>, batches: &[Batch]) -> PyResult<(Bound<'py, PyBytes>, usize)> {
        let bytes = batches.iter().map(|batch| batch.otlp.len()).sum();
        let otlp = PyBytes::new_with(py, bytes, |mut rest| {
            for batch in batches {
                let (part, after) = std::mem::take(&mut rest).split_at_mut(batch.otlp.len());
                part.copy_from_slice(&batch.otlp);
                rest = after;
            }
            Ok(())
        })?;
        Ok((otlp, batches.iter().map(|batch| batch.span_count).sum()))
    }

    fn json<'py>(py: Python<'py>, value: &impl Serialize) -> PyResult<Bound<'py, PyBytes>> {
        let bytes =
            serde_json::to_vec(value).map_err(|err| PyValueError::new_err(err.to_string()))?;
        Ok(PyBytes::new(py, &bytes))
    }
}
