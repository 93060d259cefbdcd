// The page: panels, keyboard and controls, and the gestures that play them.

const NOTE_NAMES = ["C", "C♯", "D", "D♯", "E", "F", "F♯", "G", "G♯", "A", "A♯", "B"];
const CODES = [
  "KeyA", "KeyW", "KeyS", "KeyE", "KeyD", "KeyF", "KeyT", "KeyG", "KeyY", "KeyH", "KeyU", "KeyJ",
  "KeyK", "KeyO", "KeyL", "KeyP", "Semicolon", "Quote",
]; // the keys' places on the keyboard, whatever the layout writes on them
const PLAIN_LETTERS = { Semicolon: ";", Quote: "'" };
const KEYS_BEYOND = 5; // on either side of the notes that were made
const LEAST_KEYS = 25;
const WHITE_KEY_PX = 30; // at least: a finger's width
const CLICK_S = 0.5; // a press without a length, by assistive technology
const SPOKEN_AFTER_MS = 150; // so that a run of notes does not become a stream of words

const page = JSON.parse(document.getElementById("page").textContent);
const element = (id) => document.getElementById(id);
const still = matchMedia("(prefers-reduced-motion: reduce)");

const sounds = new Sounds(page.sampleRate);
const output = new Output(page.sampleRate);
const voices = new Map(); // voice → key, for notes that sound
const pressed = new Map(); // what presses (a finger, a computer key, a MIDI key) → {voice, key}
const keys = new Map(); // MIDI note → its button
let chosen = page.sets[0];
let base = 60; // MIDI note of the computer key A
let pedal = false;

function make(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

const noteName = (key) => `${NOTE_NAMES[key % 12]}${Math.floor(key / 12) - 5 + page.middleC}`;
const isBlack = (key) => [1, 3, 6, 8, 10].includes(key % 12);

function fail(error) {
  element("error").textContent = error.message;
  element("error").hidden = false;
}

// --- panels: what was given, and the note played last ---

class Panel {
  #line = make("p");
  #heading = make("h2");
  #wave = make("canvas", { className: "wave" });
  #spectrogram = make("canvas", { className: "spectrogram" });
  #playhead = make("div", { className: "playhead", hidden: true });
  #picture = make("div", { className: "picture" }, this.#wave, this.#spectrogram, this.#playhead);
  #shown = null; // {sound, buffer}
  #asked = 0;
  #drawing = 0;
  #voice = null;

  constructor(heading, line, button) {
    this.#heading.textContent = heading;
    this.#line.textContent = line;
    this.#picture.setAttribute("role", "img");
    this.#picture.setAttribute("aria-label", "No picture yet");
    const head = make("header", {}, make("div", {}, this.#heading, this.#line));
    if (button) head.append(button);
    element("panels").append(make("article", { className: "panel" }, head, this.#picture));
    new ResizeObserver(() => this.#draw()).observe(this.#picture);
  }

  /** Draws a sound, {id, rate}, and says what it is. */
  async show(sound, heading, line) {
    const asked = ++this.#asked;
    this.#heading.textContent = heading;
    this.#line.textContent = line;
    this.#picture.setAttribute("aria-label", `Waveform and spectrogram of ${heading}`);
    const buffer = await sounds.get(sound.id);
    if (asked !== this.#asked) return; // another was asked for meanwhile
    const { id, rate } = this.#shown?.sound ?? {};
    this.#shown = { sound, buffer };
    if (id !== sound.id || rate !== sound.rate) this.#draw();
  }

  /** Moves a line over the picture with what a voice plays. */
  follow(voice) {
    this.#voice = voice;
    if (still.matches) return;
    const move = () => {
      if (this.#voice !== voice) return;
      const { position } = voice;
      this.#playhead.hidden = voice.ended || position === null || !this.#shown;
      if (voice.ended) return;
      if (!this.#playhead.hidden) {
        const x = Math.min(1, position / this.#shown.buffer.duration) * this.#picture.clientWidth;
        this.#playhead.style.transform = `translateX(${x}px)`;
      }
      requestAnimationFrame(move);
    };
    requestAnimationFrame(move);
  }

  redraw() {
    this.#draw();
  }

  #draw() {
    if (!this.#shown) return;
    const drawing = ++this.#drawing;
    const { sound, buffer } = this.#shown;
    const isCurrent = () => drawing === this.#drawing;
    requestAnimationFrame(() => {
      if (!isCurrent()) return;
      drawWave(this.#wave, buffer);
      drawSpectrogram(this.#spectrogram, buffer, sound.rate, page, isCurrent);
    });
  }
}

const inputPlayers = page.inputs.map(({ label, sound, seconds }, index) => {
  const button = make("button", { type: "button", textContent: "Play" });
  button.setAttribute("aria-label", `Play the input ${label}`);
  if (index < 9) button.title = `Computer key ${index + 1}`;
  const panel = new Panel(label, `Input, ${seconds.toFixed(2)} s`, button);
  const heard = { id: sound, rate: 1, loop: null, gain: 1 };
  let voice = null;
  const toggle = () => {
    if (voice) return voice.stop();
    voice = new Voice(output.wake(), {
      onEnd: () => {
        voice = null;
        button.textContent = "Play";
      },
    });
    button.textContent = "Stop";
    panel.follow(voice);
    voice.play(heard, sounds).catch(fail);
  };
  button.addEventListener("click", toggle);
  panel.show(heard, label, `Input, ${seconds.toFixed(2)} s`).catch(fail);
  return { toggle, panel };
});
const notePanel = new Panel("No note yet", "Play a key");

// --- notes ---

/** The zone that a key plays in the chosen set; of several takes, each in its turn. */
function zoneOf(key, velocity, turn) {
  const takes = chosen.zones.filter(
    ({ keys: [low, high], velocities: [soft, loud] }) => low <= key && key <= high && soft <= velocity && velocity <= loud,
  );
  return takes[turn % takes.length];
}

const turns = new Map(); // how often a key was played

function soundOf(key, velocity, turn) {
  const zone = zoneOf(key, velocity, turn);
  const gain = (velocity / 127) ** (2 / chosen.layers); // as zones.velocity_gain says
  return { id: zone.sound, rate: 2 ** ((key - zone.pitch) / 12), loop: zone.loop, gain, zone };
}

function press(by, key, velocity) {
  if (key < 0 || key > 127 || pressed.has(by)) return;
  const voice = new Voice(output.wake(), { rings: element("ring").checked, onEnd: () => voices.delete(voice) });
  voice.velocity = velocity;
  voice.turn = turns.get(key) ?? 0;
  turns.set(key, voice.turn + 1);
  pressed.set(by, { voice, key });
  voices.set(voice, key);
  const sound = soundOf(key, velocity, voice.turn);
  voice.play(sound, sounds).catch(fail);
  mark(key);
  showNote(voice, key, sound);
  speak(noteName(key));
  decodeAhead(key);
}

function lift(by) {
  const held = pressed.get(by);
  if (!held) return;
  pressed.delete(by);
  mark(held.key);
  if (pedal) held.voice.onPedal = true;
  else held.voice.release();
}

function liftAll() {
  for (const by of [...pressed.keys()]) lift(by);
}

function setPedal(down) {
  pedal = down;
  if (down) return;
  for (const voice of [...voices.keys()]) if (voice.onPedal) voice.release();
}

function mark(key) {
  const isDown = [...pressed.values()].some((held) => held.key === key);
  keys.get(key)?.classList.toggle("pressed", isDown);
}

function showNote(voice, key, sound) {
  const { zone, rate } = sound;
  const hz = 440 * 2 ** ((key - 69) / 12);
  const made = Math.abs(12 * Math.log2(rate)) < 0.005;
  const from = made ? "" : `, resampled from ${describePitch(zone.pitch)}`;
  const layer = hasLayers ? `, velocity ${voice.velocity}` : "";
  const step = page.sets.length > 1 ? `, ${chosen.label}` : "";
  notePanel.show(sound, noteName(key), `Last note, ${hz.toFixed(1)} Hz${from}${layer}${step}`).catch(fail);
  notePanel.follow(voice);
}

function describePitch(pitch) {
  const cents = Math.round(100 * (pitch - Math.round(pitch)));
  return noteName(Math.round(pitch)) + (cents ? ` ${cents > 0 ? "+" : "−"}${Math.abs(cents)} cents` : "");
}

let speaking = 0;
function speak(text) {
  clearTimeout(speaking);
  speaking = setTimeout(() => (element("spoken").textContent = text), SPOKEN_AFTER_MS);
}

// --- decoding ahead, while nothing else is to be done, outwards from the last key ---

const whenIdle = window.requestIdleCallback ?? ((work) => setTimeout(work, 50));
let aheadOf = 0;

function decodeAhead(key) {
  const turn = ++aheadOf;
  const waiting = [...chosen.zones]
    .sort((one, other) => Math.abs(one.root - key) - Math.abs(other.root - key))
    .map(({ sound }) => sound);
  const next = () => {
    const sound = waiting.find((id) => !sounds.ready(id));
    if (turn !== aheadOf || !sound || !sounds.hasRoom) return;
    sounds.get(sound).then(() => whenIdle(next), fail);
  };
  whenIdle(next);
}

// --- the keyboard ---

const hasLayers = page.sets.some(({ layers }) => layers > 1);
const roots = new Set(page.sets.flatMap(({ zones }) => zones.map(({ root }) => root)));
const [lowestKey, highestKey] = shownRange();

function shownRange() {
  let [low, high] = [Math.min(...roots) - KEYS_BEYOND, Math.max(...roots) + KEYS_BEYOND];
  const lacking = Math.max(0, LEAST_KEYS - (high - low + 1));
  low = Math.max(0, low - Math.floor(lacking / 2));
  high = Math.min(127, high + Math.ceil(lacking / 2));
  return [low - isBlack(low), high + isBlack(high)];
}

function buildKeyboard() {
  const range = Array.from({ length: highestKey - lowestKey + 1 }, (_, index) => lowestKey + index);
  const nWhites = range.filter((key) => !isBlack(key)).length;
  const width = 100 / nWhites;
  let whites = 0;
  for (const key of range) {
    const black = isBlack(key);
    const button = make("button", { type: "button", tabIndex: -1, className: `key ${black ? "black" : "white"}` });
    button.append(make("span", { className: "letter" }), make("span", { textContent: key % 12 === 0 ? noteName(key) : "" }));
    button.classList.toggle("stretched", !roots.has(key));
    button.setAttribute("aria-label", noteName(key) + (roots.has(key) ? "" : ", resampled"));
    button.dataset.key = key;
    button.style.left = `${black ? whites * width - 0.3 * width : whites * width}%`;
    button.style.width = `${black ? 0.6 * width : width}%`;
    if (!black) whites++;
    keys.set(key, button);
  }
  element("keys").append(...keys.values());
  element("keys").style.minWidth = `${nWhites * WHITE_KEY_PX}px`;
}

/** The octave in which most computer keys play notes that were made; of equals, the one nearest to middle C. */
function bestBase() {
  let [best, most] = [60, -1];
  for (let candidate = 0; candidate <= 120; candidate += 12) {
    const count = [...roots].filter((root) => candidate <= root && root < candidate + CODES.length).length;
    const nearer = Math.abs(candidate - 60) < Math.abs(best - 60);
    if (count > most || (count === most && nearer)) [best, most] = [candidate, count];
  }
  return best;
}

function setBase(to) {
  if (to < 0 || to > 120) return;
  base = to;
  element("octave").textContent = `${noteName(base)} – ${noteName(Math.min(127, base + CODES.length - 1))}`;
  for (const [key, button] of keys) {
    const code = CODES[key - base];
    button.firstChild.textContent = code ? letterOf(code) : "";
  }
  element("down").disabled = base - 12 + CODES.length <= lowestKey || base === 0;
  element("up").disabled = base + 12 > highestKey || base === 120;
  const first = keys.get(Math.max(base, lowestKey));
  element("keyboard").scrollTo({ left: first.offsetLeft, behavior: still.matches ? "auto" : "smooth" });
}

let layout = null; // what the user's keyboard writes on its keys, where the browser tells
const letterOf = (code) => layout?.get(code) ?? PLAIN_LETTERS[code] ?? code.slice(3);

function focusKey(key) {
  for (const button of keys.values()) button.tabIndex = -1;
  keys.get(key).tabIndex = 0;
}

const velocityNow = () => (hasLayers ? Number(element("velocity").value) : 127);

// Fingers and mouse: several at once, gliding from key to key.
function keyAt(event) {
  const under = document.elementFromPoint(event.clientX, event.clientY)?.closest(".key");
  return under ? Number(under.dataset.key) : null;
}

element("keys").addEventListener("pointerdown", (event) => {
  if (event.button !== 0) return;
  const key = keyAt(event);
  if (key === null) return;
  event.target.releasePointerCapture?.(event.pointerId); // touch captures by itself, and would never glide
  focusKey(key);
  press(`pointer ${event.pointerId}`, key, velocityNow());
});

document.addEventListener("pointermove", (event) => {
  const by = `pointer ${event.pointerId}`;
  const held = pressed.get(by);
  if (!held) return;
  const key = keyAt(event);
  if (key === held.key || key === null) return;
  lift(by);
  press(by, key, velocityNow());
});

for (const type of ["pointerup", "pointercancel"]) {
  document.addEventListener(type, (event) => {
    lift(`pointer ${event.pointerId}`);
    if (output.context) output.wake(); // browsers take the end of a touch, not its beginning, for a gesture
  });
}

element("keys").addEventListener("contextmenu", (event) => event.preventDefault());
element("keys").addEventListener("click", (event) => {
  if (event.detail !== 0) return; // a pointer's, already played
  const key = Number(event.target.closest(".key").dataset.key);
  press("click", key, velocityNow());
  setTimeout(() => lift("click"), 1000 * CLICK_S);
});

// The piano is one stop of the tab key; arrows go from key to key.
element("keys").addEventListener("keydown", (event) => {
  const key = Number(event.target.dataset.key);
  const steps = { ArrowLeft: -1, ArrowRight: 1, ArrowDown: -12, ArrowUp: 12 };
  const to = { Home: lowestKey, End: highestKey }[event.key] ?? key + steps[event.key];
  if (event.key === " " || event.key === "Enter") {
    if (!event.repeat) press(event.code, key, velocityNow());
    event.preventDefault();
  } else if (keys.has(to) && !event.ctrlKey && !event.metaKey && !event.altKey) {
    focusKey(to);
    keys.get(to).focus();
    event.preventDefault();
  }
});

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
  const place = CODES.indexOf(event.code);
  const input = /^Digit([1-9])$/.exec(event.code);
  if (place >= 0) press(event.code, base + place, velocityNow());
  else if (event.code === "KeyZ") setBase(base - 12);
  else if (event.code === "KeyX") setBase(base + 12);
  else if (input && inputPlayers[input[1] - 1]) inputPlayers[input[1] - 1].toggle();
  else return;
  event.preventDefault();
});
document.addEventListener("keyup", (event) => lift(event.code));
window.addEventListener("blur", liftAll); // what is let go elsewhere is not told

// --- controls ---

function chooseStep() {
  const index = Number(element("step").value);
  chosen = page.sets[index];
  element("chosen-step").textContent = chosen.label;
  element("step").setAttribute("aria-valuetext", chosen.label);
  for (const [voice, key] of voices) {
    if (!voice.lasts) continue;
    const sound = soundOf(key, voice.velocity, voice.turn);
    voice.play(sound, sounds).catch(fail);
    showNote(voice, key, sound);
  }
  decodeAhead(base);
}

function setUpSteps() {
  if (page.sets.length < 2) return;
  element("steps").hidden = false;
  element("step").max = page.sets.length - 1;
  element("first-step").textContent = page.sets[0].label;
  element("last-step").textContent = page.sets.at(-1).label;
  element("step-marks").append(...page.sets.map((_, index) => make("option", { value: index })));
  element("step").addEventListener("input", chooseStep);
}

function setVolume() {
  output.volume = (element("volume").value / 100) ** 2;
}

function setVelocity() {
  element("velocity-shown").textContent = element("velocity").value;
}

async function connectMidi() {
  output.wake();
  const state = element("midi-state");
  if (!navigator.requestMIDIAccess) {
    state.textContent = "This browser has no Web MIDI";
    element("midi").disabled = true;
    return;
  }
  try {
    const access = await navigator.requestMIDIAccess();
    const listen = () => {
      const inputs = [...access.inputs.values()];
      for (const input of inputs) input.onmidimessage = playMidi;
      const names = inputs.map(({ name }) => name).join(", ");
      state.textContent = inputs.length ? `Listening to ${names}` : "Connect a MIDI keyboard: it is found by itself";
    };
    access.onstatechange = listen;
    listen();
    element("midi").disabled = true;
  } catch (error) {
    state.textContent = `The browser did not allow MIDI (${error.name})`;
  }
}

function playMidi({ data: [status, first, second] }) {
  const kind = status & 0xf0;
  if (kind === 0x90 && second > 0) press(`midi ${first}`, first, second);
  else if (kind === 0x80 || kind === 0x90) lift(`midi ${first}`);
  else if (kind === 0xb0 && first === 64) setPedal(second >= 64);
  else if (kind === 0xb0 && (first === 120 || first === 123)) liftAll(); // all sound off, all notes off
}

function describePage() {
  for (const [name, value] of page.facts) {
    element("facts").append(make("div", {}, make("dt", { textContent: name }), make("dd", { textContent: value })));
  }
  const { unheard } = page.sets[0];
  const digits = Math.min(9, page.inputs.length);
  element("hint").append(
    make("span", { className: "with-keyboard", textContent: "Computer keys A to ' play; Z and X change the octave. " }),
    make("span", {
      className: "with-keyboard",
      textContent: digits > 1 ? `1 to ${digits} play the inputs. ` : digits ? "1 plays the input. " : "",
    }),
    "Grey keys are resampled from the nearest note.",
    unheard ? ` ${unheard} ${unheard > 1 ? "notes lie" : "note lies"} between keys and cannot be played here.` : "",
  );
  element("velocity-group").hidden = !hasLayers;
  element("ring-group").hidden = page.sets.every(({ zones }) => zones.every(({ loop }) => loop));
}

function showLayout() {
  // Only some browsers tell; elsewhere the keys keep their names of the American layout.
  navigator.keyboard?.getLayoutMap?.().then(
    (map) => {
      layout = map;
      setBase(base);
    },
    () => {},
  );
}

describePage();
buildKeyboard();
setBase(bestBase());
focusKey(keys.has(base) ? base : lowestKey);
setUpSteps();
setVolume();
setVelocity();
chooseStep();
showLayout();
element("volume").addEventListener("input", setVolume);
element("velocity").addEventListener("input", setVelocity);
element("midi").addEventListener("click", connectMidi);
element("down").addEventListener("click", () => setBase(base - 12));
element("up").addEventListener("click", () => setBase(base + 12));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  for (const { panel } of inputPlayers) panel.redraw();
  notePanel.redraw();
});
