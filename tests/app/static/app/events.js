// Notes what the page's elements fire, for the tests to read.
window.fired = [];
for (const name of ["job-progress", "job-finished"]) {
  addEventListener(name, (event) => {
    window.fired.push([name, event.detail.state, event.detail.percent]);
    if (name === "job-finished" && location.hash === "#stay") event.preventDefault();
  });
}
