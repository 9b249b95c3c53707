//! What spans say of a gRPC call, beside what they say of its request.
//!
//! Source: OpenTelemetry, semantic conventions for RPC and gRPC, 1.44 (release candidate).

use super::attribute::{key, put_lossy, put_text};
use super::segment::Attempt;
use crate::grpc;

/// Appends the method that is called: the path without its slash.
///
/// Anybody can ask for any path, and conventions want names of a bounded set in `rpc.method`: so it
/// is one that an endpoint has answered, which then is known to have it.
pub(super) fn put_method(out: &mut Vec<u8>, path: &[u8], is_known: bool) {
    let method = path.strip_prefix(b"/").unwrap_or(path);
    put_text(out, key!("rpc.system.name"), "grpc");
    if is_known {
        put_lossy(out, key!("rpc.method"), method);
    } else {
        put_text(out, key!("rpc.method"), "_OTHER");
        put_lossy(out, key!("rpc.method_original"), method);
    }
}

/// Appends how it ended, where that is known.
pub(super) fn put_status(out: &mut Vec<u8>, status: Option<grpc::Status>) {
    if let Some(status) = status {
        put_text(out, key!("rpc.response.status_code"), status.as_str());
    }
}

/// Whether the endpoint has the method that it was asked for.
pub(super) fn is_method_known(attempt: &Attempt<'_>) -> bool {
    let answered = attempt.grpc_status;
    answered.is_some_and(|status| status != grpc::Status::UNIMPLEMENTED)
}
