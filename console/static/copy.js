// Buttons that copy the text of the element that they name. Without scripts, or where the clipboard is closed, they stay away.
if (navigator.clipboard) {
  for (const button of document.querySelectorAll("[data-copy]")) {
    const label = button.innerHTML;
    let back;
    button.hidden = false;
    button.addEventListener("click", async () => {
      await navigator.clipboard.writeText(document.getElementById(button.dataset.copy).textContent);
      button.textContent = "Copied";
      clearTimeout(back);
      back = setTimeout(() => { button.innerHTML = label; }, 2000);
    });
  }
}
