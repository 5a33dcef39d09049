// Says so where the page itself cannot run. Plain old JavaScript on purpose.
setTimeout(function () {
  var app = document.getElementById('app');
  var note = document.getElementById('too-old');
  if (app && note && !app.firstChild) {
    note.hidden = false;
  }
}, 4000);
