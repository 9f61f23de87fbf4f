// Filter and order the cards as they are: no name becomes anything but text.

const form = document.querySelector("#filter");
const cards = [...document.querySelectorAll(".card")];
const count = document.querySelector("#count");

function wanted({ dataset: { name, score } }) {
  const { name: part, low, high } = form.elements;
  const within = (!low?.value || score >= Number(low.value)) && (!high?.value || score <= Number(high.value));
  const unbounded = !low?.value && !high?.value;
  return name.toLowerCase().includes(part.value.toLowerCase()) && (score === "" ? unbounded : within);
}

function compare(order) {
  if (order === "name") return (a, b) => a.dataset.name.localeCompare(b.dataset.name);
  const [sign, key] = order.startsWith("-") ? [-1, order.slice(1)] : [1, order];
  return (a, b) => {
    const [one, other] = [a.dataset[key], b.dataset[key]];
    if (one === "" || other === "") return (one === "") - (other === "");
    return sign * (one - other);
  };
}

function update() {
  for (const card of cards) card.hidden = !wanted(card);
  const shown = cards.filter((card) => !card.hidden).length;
  count.textContent = `${shown} of ${cards.length} images`;
  document.querySelector(".cards").append(...cards.toSorted(compare(form.elements.order.value)));
}

form.addEventListener("input", update);
form.addEventListener("submit", (event) => event.preventDefault());
update();
