
"use strict";
(() => {
  const by = (id) => document.getElementById(id);
  const audio = document.querySelector("audio"), search = document.querySelector("input[type=search]");
  const pick = by("pick"), file = pick.querySelector("input"), dialog = document.querySelector("dialog");
  const words = [...document.querySelectorAll("main p [data-t]")];
  const number = new Map(words.map((word, n) => [word, n]));
  const sections = [...document.querySelectorAll("section")];
  const order = words.map((word) => [Number(word.dataset.t), word]).sort((a, b) => a[0] - b[0]);
  const say = (text) => { by("say").textContent = text; };
  const sound = () => audio.src && !audio.error;

  // The recording: a file of that name beside this page, or one that the reader picks. It never leaves the computer.
  const name = audio.dataset.audio;
  audio.addEventListener("loadedmetadata", () => {
    audio.hidden = false;
    pick.hidden = !audio.src.startsWith("blob:");
    by("missing").textContent = "";
    say("");
  });
  const missing = () => (audio.src.startsWith("blob:") ? "This file cannot be played: choose the recording."
    : `${name || "The recording"} is not beside this page: choose it to listen along.`);
  const ask = () => {
    say(missing());
    file.focus({ preventScroll: true });
  };
  audio.addEventListener("error", () => {
    audio.hidden = true;
    pick.hidden = false;
    by("missing").textContent = missing();
    if (document.activeElement === document.body) file.focus({ preventScroll: true });
  });
  if (name) audio.src = encodeURIComponent(name);
  file.addEventListener("change", () => {
    if (!file.files[0]) return;
    if (audio.src.startsWith("blob:")) URL.revokeObjectURL(audio.src);
    audio.src = URL.createObjectURL(file.files[0]);
  });

  const seek = (seconds) => {
    if (!sound()) return ask();
    audio.currentTime = Math.max(0, seconds);
    audio.play().catch(() => {});
  };
  document.addEventListener("click", (event) => {
    const place = event.target.closest("[data-t]");
    if (!place || !getSelection().isCollapsed) return;
    if (!place.matches("button")) visit(place);
    seek(Number(place.dataset.t));
  });

  // Of thousands of words one at a time can be reached by Tab; the arrows go on from there. Only that one is a button,
  // so that a screen reader reads the others as text.
  let at = null, moved = false;
  const visit = (word, focus) => {
    moved = Boolean(at);
    if (at) ["tabindex", "role"].forEach((attribute) => at.removeAttribute(attribute));
    at = word;
    at.tabIndex = 0;
    at.setAttribute("role", "button");
    if (focus) at.focus();
  };
  if (words.length) visit(words[0]);
  const paragraph = (step) => {
    const section = sections[sections.indexOf(at.closest("section")) + step];
    return section && section.querySelector("p [data-t]");
  };
  const moves = {
    ArrowLeft: () => words[number.get(at) - 1],
    ArrowRight: () => words[number.get(at) + 1],
    ArrowUp: () => paragraph(-1),
    ArrowDown: () => paragraph(1),
  };
  const turned = { ArrowLeft: "ArrowRight", ArrowRight: "ArrowLeft" };
  const onWord = (key) => {
    if (key === "Enter" || key === " ") seek(Number(at.dataset.t));
    else if (key === "Escape") at.blur();
    else {
      const rightToLeft = getComputedStyle(at.closest("p")).direction === "rtl";
      const move = moves[(rightToLeft && turned[key]) || key];
      if (!move) return false;
      const next = move();
      if (next) visit(next, true);
    }
    return true;
  };

  // The current word follows the sound frame by frame: the player's own events come four times a second.
  let now = null;
  const wordAt = (seconds) => {
    let low = 0, high = order.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (order[middle][0] <= seconds + 0.01) low = middle + 1; else high = middle;
    }
    return low ? order[low - 1][1] : null;
  };
  const mark = () => {
    const word = wordAt(audio.currentTime);
    if (word === now) return;
    if (now) now.classList.remove("now");
    now = word;
    if (!now) return;
    now.classList.add("now");
    if (document.activeElement !== at) visit(now);
    const box = now.getBoundingClientRect();
    if (!audio.paused && (box.top < 120 || box.bottom > innerHeight - 60)) now.scrollIntoView({ block: "center" });
  };
  const follow = () => {
    mark();
    if (!audio.paused) requestAnimationFrame(follow);
  };
  audio.addEventListener("play", follow);
  audio.addEventListener("seeked", mark);

  // Doubtful passages and words that were hardly heard, in order.
  const doubts = [...document.querySelectorAll("main .doubt, main p > .low")].map((place) => {
    const word = place.dataset.t ? place : place.querySelector("[data-t]");
    return { word, index: number.get(word), why: place.dataset.why || place.title };
  });
  by("doubts").hidden = !doubts.length;
  by("doubts").textContent = `Doubtful ${doubts.length}`;
  by("doubts").setAttribute("aria-label", `Doubtful ${doubts.length}: go to the next`);
  const doubt = (step) => {
    if (!doubts.length) return say("No place in this text is marked as doubtful.");
    const here = number.get(at) - (moved ? 0 : step);
    let n = step > 0 ? doubts.findIndex((d) => d.index > here) : doubts.findLastIndex((d) => d.index < here);
    if (n < 0) n = step > 0 ? 0 : doubts.length - 1;
    visit(doubts[n].word, true);
    at.scrollIntoView({ block: "center" });
    say(`${n + 1} of ${doubts.length}: ${doubts[n].why}`);
  };

  // Search runs over the text as it is read, so that a phrase is found across words. Small letters can be longer
  // than their capitals, therefore places are counted in the small letters.
  const index = sections.map((section) => {
    const places = [];
    let text = "";
    const texts = document.createTreeWalker(section.querySelector("p"), NodeFilter.SHOW_TEXT);
    while (texts.nextNode()) {
      const { data, parentElement: parent } = texts.currentNode, small = data.toLowerCase();
      if (parent.dataset.t) places.push([text.length, text.length + small.length, parent]);
      text += small;
    }
    return { text, places };
  });
  let hits = [], found = -1;
  const go = (step) => {
    if (!hits.length) return;
    if (found >= 0) hits[found].forEach((word) => word.classList.remove("found"));
    found = found < 0 && step < 0 ? hits.length - 1 : (found + step + hits.length) % hits.length;
    hits[found].forEach((word) => word.classList.add("found"));
    visit(hits[found][0]);
    at.scrollIntoView({ block: "center" });
    say(`${found + 1} of ${hits.length}`);
  };
  search.addEventListener("input", () => {
    hits.flat().forEach((word) => word.classList.remove("hit", "found"));
    hits = [];
    found = -1;
    const wanted = search.value.trim().toLowerCase();
    for (const { text, places } of wanted ? index : []) {
      let from = 0;
      for (let at = text.indexOf(wanted); at >= 0; at = text.indexOf(wanted, at + wanted.length)) {
        while (from < places.length && places[from][1] <= at) from += 1;
        const hit = [];
        for (let i = from; i < places.length && places[i][0] < at + wanted.length; i += 1) hit.push(places[i][2]);
        if (hit.length) hits.push(hit);
      }
    }
    hits.flat().forEach((word) => word.classList.add("hit"));
    by("steps").hidden = !hits.length;
    say(wanted ? `${hits.length} found` : "");
  });

  const near = () => sections.findLastIndex((s) => Number(s.querySelector("[data-t]").dataset.t) <= audio.currentTime + 0.01);
  const jump = (step) => {
    const section = sections[Math.min(Math.max(near() + step, 0), sections.length - 1)];
    if (!section) return;
    audio.currentTime = Number(section.querySelector("[data-t]").dataset.t);
    section.scrollIntoView({ block: "nearest" });
  };
  const player = {
    " ": () => { if (audio.paused) audio.play().catch(() => {}); else audio.pause(); },
    ArrowLeft: () => { audio.currentTime = Math.max(0, audio.currentTime - 5); },
    ArrowRight: () => { audio.currentTime += 5; },
    ArrowUp: () => jump(-1),
    ArrowDown: () => jump(1),
  };
  const letters = {
    "/": () => { search.focus(); search.select(); },
    "?": () => dialog.showModal(),
    d: () => doubt(1),
    D: () => doubt(-1),
  };
  by("back").addEventListener("click", () => go(-1));
  by("on").addEventListener("click", () => go(1));
  by("doubts").addEventListener("click", () => doubt(1));
  by("help").addEventListener("click", letters["?"]);
  by("close").addEventListener("click", () => dialog.close());
  const inSearch = (event) => {
    if (event.key === "Enter") { event.preventDefault(); go(event.shiftKey ? -1 : 1); }
    if (event.key === "Escape") { search.value = ""; search.dispatchEvent(new Event("input")); search.blur(); }
  };
  document.addEventListener("keydown", (event) => {
    const { key, target } = event;
    if (event.ctrlKey || event.altKey || event.metaKey || dialog.open) return;
    if (target === search) return inSearch(event);
    const press = (target === at && onWord(key)) || (letters[key] && by("letters").checked && (letters[key](), true));
    if (press) return event.preventDefault();
    // What has keys of its own keeps them, and without a sound the page scrolls.
    if (!player[key] || !sound() || target === audio || (key === " " && target.closest("button, input"))) return;
    event.preventDefault();
    player[key]();
  });
})();
