//! `proxy._engine`: the engine for Python. This crate translates and decides nothing.
//!
//! Every call that can take longer than a few microseconds releases the GIL.

use pyo3::pymodule;

#[pymodule]
mod _engine {
    use std::net::TcpListener;
    use std::os::fd::{FromRawFd, IntoRawFd, OwnedFd, RawFd};
    use std::path::PathBuf;
    use std::sync::{Mutex, MutexGuard, PoisonError};
    use std::time::Duration;

    use arrow_array::ffi::to_ffi;
    use arrow_array::{Array, StructArray};
    use pyo3::exceptions::{PyOSError, PyValueError};
    use pyo3::prelude::*;
    use pyo3::types::{PyBytes, PyCapsule};
    use serde::Serialize;
    use spanway_engine::access_log::{Destination, Format, Log};
    use spanway_engine::trace::{Batch, Resource};
    use spanway_engine::{Options, metrics};

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
            connections_max: usize,
            metrics_routes_max: usize,
            access_log: Option<(PathBuf, String)>,
        ) -> PyResult<Self> {
            if workers == 0 {
                return Err(PyValueError::new_err("an engine needs at least one worker"));
            }
            let access_log = access_log
                .map(|(path, format)| log(path, &format))
                .transpose()?;
            let engine = spanway_engine::Engine::start(Options {
                workers,
                resource: Resource {
                    attributes: resource,
                },
                span_queue_bytes,
                requests_live_max,
                connections_max,
                metrics_routes_max,
                access_log,
            });
            engine
                .map(Self)
                .map_err(|err| PyOSError::new_err(err.to_string()))
        }

        /// Opens the access log's file anew.
        fn reopen_access_log(&self) {
            self.0.reopen_access_log();
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

        /// What was counted by route, as text for a scraper, with what ingress-nginx counts if the
        /// labels that it has everywhere are given.
        fn metrics<'py>(
            &self,
            py: Python<'py>,
            is_openmetrics: bool,
            nginx: Option<Vec<(String, String)>>,
        ) -> Bound<'py, PyBytes> {
            let format = if is_openmetrics {
                metrics::Format::OpenMetrics
            } else {
                metrics::Format::Text
            };
            let page = py.detach(move || self.0.metrics(format, nginx.as_deref()));
            PyBytes::new(py, &page)
        }

        /// JSON in (`proxy.live.Query`), JSON out (`proxy.live.Live`).
        fn live<'py>(&self, py: Python<'py>, query: &[u8]) -> PyResult<Bound<'py, PyBytes>> {
            // Writing 10,000 rows takes some milliseconds, too.
            let answer = py.detach(|| {
                let live = self.0.live(query)?;
                serde_json::to_vec(&live).map_err(|err| err.to_string())
            });
            let answer = answer.map_err(PyValueError::new_err)?;
            Ok(PyBytes::new(py, &answer))
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

        /// Takes over a listening socket that is bound to this address, and its descriptor.
        fn adopt(&self, address: &str, descriptor: RawFd) -> PyResult<()> {
            if descriptor < 0 {
                return Err(PyValueError::new_err("the socket is closed"));
            }
            // SAFETY: it is no niche of OwnedFd. `proxy/engine.py` detaches the descriptor from a Python socket that it owns
            // and passes it here only, so that it is open and nobody else's.
            #[expect(unsafe_code, reason = "a descriptor is taken over in no other way")]
            let socket = unsafe { OwnedFd::from_raw_fd(descriptor) };
            let address = address.parse().map_err(|_| {
                PyValueError::new_err("the address is not an IP address and a port")
            })?;
            let socket = TcpListener::from(socket);
            let adopted = self.0.adopt(address, socket);
            adopted.map_err(|err| PyValueError::new_err(err.to_string()))
        }

        /// Duplicates of all listening sockets with their addresses; they are the caller's.
        fn listening(&self, py: Python<'_>) -> Vec<(String, RawFd)> {
            let sockets = py.detach(|| self.0.listening());
            sockets
                .into_iter()
                .map(|(address, socket)| (address.to_string(), socket.into_raw_fd()))
                .collect()
        }

        /// Stops accepting, serves what was accepted for that long, then cuts it.
        fn stop(&self, py: Python<'_>, deadline_s: f64, idle_s: f64) -> PyResult<()> {
            let (deadline, idle) = (duration(deadline_s)?, duration(idle_s)?);
            py.detach(|| self.0.stop(deadline, idle));
            Ok(())
        }
    }

    /// An access log at `path`, where `-` is standard output.
    fn log(path: PathBuf, format: &str) -> PyResult<Log> {
        let format = Format::of(format)
            .ok_or_else(|| PyValueError::new_err("there is no such format of access logs"))?;
        let destination = match path.to_str() {
            Some("-") => Destination::Stdout,
            _ => Destination::File(path),
        };
        Log::open(destination, format)
            .map_err(|err| PyOSError::new_err((err.raw_os_error(), err.to_string())))
    }

    /// Spans as Arrow columns; `proxy/columns.py` is its face.
    #[pyclass(frozen)]
    struct Columns(Mutex<spanway_columns::Columns>);

    #[pymethods]
    impl Columns {
        #[new]
        fn new() -> Self {
            Self(Mutex::default())
        }

        /// Rows that wait to be taken.
        fn rows(&self) -> usize {
            self.lock().rows()
        }

        /// OTLP bytes in; how many spans were taken, refused, and had come before, which none has
        /// unless `is_once`.
        fn add(
            &self,
            py: Python<'_>,
            otlp: &[u8],
            is_once: bool,
        ) -> PyResult<(usize, usize, usize)> {
            let added = py.detach(|| {
                let mut columns = self.lock();
                if is_once {
                    columns.add_once(otlp)
                } else {
                    columns.add(otlp)
                }
            });
            let added = added.map_err(|err| PyValueError::new_err(err.to_string()))?;
            Ok((added.taken, added.refused, added.repeated))
        }

        /// All rows, as an array of the Arrow C data interface; afterwards there are none.
        fn take(&self, py: Python<'_>) -> PyResult<ColumnBatch> {
            let taken = py.detach(|| self.lock().take());
            let rows = taken.map_err(|err| PyValueError::new_err(err.to_string()))?;
            Ok(ColumnBatch(rows))
        }
    }

    impl Columns {
        /// Whoever panicked with it left at most the columns of one request uneven; they are filled up.
        fn lock(&self) -> MutexGuard<'_, spanway_columns::Columns> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner)
        }
    }

    /// Rows that were taken, for whoever reads Arrow.
    #[pyclass(frozen)]
    struct ColumnBatch(StructArray);

    #[pymethods]
    impl ColumnBatch {
        /// Source: Arrow, "The Arrow `PyCapsule` Interface".
        #[pyo3(signature = (requested_schema = None))]
        fn __arrow_c_array__<'py>(
            &self,
            py: Python<'py>,
            requested_schema: Option<Bound<'py, PyAny>>,
        ) -> PyResult<(Bound<'py, PyCapsule>, Bound<'py, PyCapsule>)> {
            // The one that is asked for is a wish; whoever cannot use ours casts it.
            drop(requested_schema);
            let exported = to_ffi(&self.0.to_data());
            let (array, schema) = exported.map_err(|err| PyValueError::new_err(err.to_string()))?;
            let schema = PyCapsule::new_with_value(py, schema, c"arrow_schema")?;
            let array = PyCapsule::new_with_value(py, array, c"arrow_array")?;
            Ok((schema, array))
        }
    }

    fn duration(seconds: f64) -> PyResult<Duration> {
        Duration::try_from_secs_f64(seconds).map_err(|err| PyValueError::new_err(err.to_string()))
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
