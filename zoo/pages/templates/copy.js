
(() => {
  if (!navigator.clipboard) return;  // a browser gives it to https, files and this machine alone
  for (const button of document.querySelectorAll("button")) {
    button.hidden = false;
    button.addEventListener("click", () => {
      const text = button.parentElement.querySelector("code").textContent;
      navigator.clipboard.writeText(text).then(
        () => { button.textContent = "copied"; },
        () => { button.textContent = "not copied"; });
      setTimeout(() => { button.textContent = "copy"; }, 2000);
    });
  }
})();
