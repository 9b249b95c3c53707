// Numbers as people read them. Microseconds come in, as the API has them.

/** `850 µs`, `12.3 ms`, `1.97 s`, `2 m 05 s`, `3 h 10 m`. */
export function duration(us) {
  if (us == null) return '–';
  if (us < 1_000) return `${Math.round(us)} µs`;
  if (us < 1_000_000) return `${significant(us / 1_000)} ms`;
  if (us < 60_000_000) return `${significant(us / 1_000_000)} s`;
  const seconds = Math.round(us / 1_000_000);
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} m ${two(seconds % 60)} s`;
  return `${Math.floor(minutes / 60)} h ${two(minutes % 60)} m`;
}

/** `980 B`, `12.3 kB`. */
export function bytes(count) {
  if (count < 1_000) return `${count} B`;
  const unit = count < 1e6 ? ['kB', 1e3] : count < 1e9 ? ['MB', 1e6] : ['GB', 1e9];
  return `${significant(count / unit[1])} ${unit[0]}`;
}

/** `1,234,567`. */
export function count(number) {
  return number == null ? '–' : Math.round(number).toLocaleString('en-US');
}

/** A rate or another small number: three digits at most. */
export function number(value) {
  if (value == null) return '–';
  return value >= 1_000 ? count(value) : significant(value);
}

/** A share from 0 to 1: `0.3 %`, `12 %`. */
export function percent(share) {
  if (share == null) return '–';
  const value = share * 100;
  if (value > 0 && value < 0.05) return '< 0.1 %';
  return `${value !== 0 && Math.abs(value) < 10 ? value.toFixed(1) : Math.round(value)} %`;
}

/** The time of day with milliseconds; with the date if it is another day. */
export function moment(unixUs) {
  const at = new Date(unixUs / 1_000);
  const time = `${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}.${String(at.getMilliseconds()).padStart(3, '0')}`;
  return at.toDateString() === new Date().toDateString() ? time : `${day(at)} ${time}`;
}

function day(at) {
  return `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())}`;
}

function significant(value) {
  return value >= 99.95 || value === 0 ? value.toFixed(0) : value >= 9.995 ? value.toFixed(1) : value.toFixed(2);
}

function two(value) {
  return String(value).padStart(2, '0');
}
