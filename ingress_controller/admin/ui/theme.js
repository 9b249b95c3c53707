// Runs before the first paint, so that a chosen theme does not flash. Not a module for that reason.
try {
  const theme = localStorage.getItem('spanway-theme');
  if (theme === 'light' || theme === 'dark') document.documentElement.dataset.theme = theme;
} catch {
  // A browser that keeps nothing follows the system.
}
