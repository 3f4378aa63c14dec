
(() => {
  const box = document.getElementById("search"), count = document.getElementById("count");
  const rows = [...document.querySelectorAll("tbody tr")].map(
    (row) => ({ row, text: row.textContent.toLowerCase(), withdrawn: row.closest("details") !== null }));
  const filter = () => {
    const words = box.value.toLowerCase().split(/\s+/).filter(Boolean);
    const found = [0, 0], all = [0, 0];
    for (const { row, text, withdrawn } of rows) {
      row.hidden = !words.every((word) => text.includes(word));
      all[+withdrawn] += 1;
      found[+withdrawn] += !row.hidden;
    }
    const more = all[1] ? `, ${found[1]} of ${all[1]} withdrawn` : "";
    count.textContent = words.length ? `${found[0]} of ${all[0]}${more}` : "";
  };
  box.addEventListener("input", filter);
  document.getElementById("finder").hidden = false;
  filter();
})();
