-- The name in the URL is for TLS and the Host header; the server is always on this machine.
local lookup = wrk.lookup
wrk.lookup = function(_, service)
  return lookup("127.0.0.1", service)
end

-- Tells wrk's result as JSON, on the last line.
function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    '\n{"requests": %d, "duration_us": %d, "errors": %d}\n',
    summary.requests, summary.duration,
    errors.connect + errors.read + errors.write + errors.status + errors.timeout))
end
