"""An instrument can be played and seen in a browser, from one file, with nothing asked of a network."""

from __future__ import annotations

import base64
import io
import json
import re
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from browser import CHROMIUM, Browser
from conftest import tone

from hgs_cli.audio.loop import Loop
from hgs_cli.export.audition import AuditionInput, AuditionSet, write_audition
from hgs_cli.export.zones import Sample, velocity_gain
from hgs_cli.pitch import midi_to_hz

RATE = 44_100
ODD_NAME = "a</script><b>&\"'<!--<script>💥.wav"
in_a_browser = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")

# Before the page's own script: hears what goes to the loudspeaker, counts contexts, and stands in for a MIDI keyboard.
HEARING = """
const connect = AudioNode.prototype.connect;
AudioNode.prototype.connect = function (to, ...rest) {
  if (to instanceof AudioDestinationNode) {
    window.hearing = new AnalyserNode(this.context, { fftSize: 16384, smoothingTimeConstant: 0 });
    connect.call(this, window.hearing);
  }
  return connect.call(this, to, ...rest);
};
window.nContexts = 0;
window.AudioContext = class extends AudioContext { constructor(options) { super(options); window.nContexts++; } };
window.heardLevel = () => {
  const samples = new Float32Array(16384);
  window.hearing?.getFloatTimeDomainData(samples);
  return Math.max(...samples.slice(-2048).map(Math.abs));  // the last ones heard
};
window.heardHz = () => {
  if (!window.hearing || window.hearing.context.state !== "running") return 0;
  const levels = new Float32Array(window.hearing.frequencyBinCount);
  window.hearing.getFloatFrequencyData(levels);
  return (levels.indexOf(Math.max(...levels)) * window.hearing.context.sampleRate) / window.hearing.fftSize;
};
window.hears = (hz) => window.heardLevel() > 0.02 && Math.abs(window.heardHz() / hz - 1) < 0.02;
window.midiInput = { name: "Keys" };
navigator.requestMIDIAccess = async () => ({ inputs: new Map([["1", window.midiInput]]) });
window.playMidi = (...data) => window.midiInput.onmidimessage({ data });
"""

# Ratio of the luminances of texts and what is behind them, as WCAG 2.2 defines it.
CONTRASTS = """(selectors) => {
  const linear = (value) => (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4);
  const luminance = (colour) => {
    const [red, green, blue] = colour.match(/[\\d.]+/g).map((value) => linear(value / 255));
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  };
  const behind = (element) => {
    const colour = getComputedStyle(element).backgroundColor;
    return colour === "rgba(0, 0, 0, 0)" ? behind(element.parentElement) : colour;
  };
  return selectors.map((selector) => {
    const element = document.querySelector(selector);
    const both = [luminance(getComputedStyle(element).color), luminance(behind(element))];
    return [selector, (Math.max(...both) + 0.05) / (Math.min(...both) + 0.05)];
  });
}"""
TEXTS = (
    "h1", "dt", "dd", "h2", ".panel p", ".panel button", "#octave", "#hint", "#midi", ".key.white span",
    ".key.black span", ".key.white.stretched span", ".key.black.stretched span",
)  # fmt: skip


def sine(hz: float, seconds: float = 2.0) -> np.ndarray:
    """A sine of constant level, (T, 1)."""
    time_s = np.arange(round(seconds * RATE)) / RATE
    return (0.4 * np.sin(2 * np.pi * hz * time_s)).astype(np.float32)[:, None]


def sample(pitch: float, layer: int = 0, seconds: float = 2.0, loop: Loop | None = None, channels: int = 1) -> Sample:
    return Sample(Path(f"note_{pitch}_{layer}.wav"), pitch, layer, round(seconds * RATE), RATE, channels, loop)


def sines(pitches: Sequence[float], label: str = "all", multiple: float = 1.0, **properties: Any) -> AuditionSet:
    """A set of sines at a multiple of their notes' frequencies; of layer n, at n + 1 times that."""
    layers = properties.pop("layers", 1)
    samples = [sample(pitch, layer, **properties) for pitch in pitches for layer in range(layers)]

    def read(one: Sample) -> np.ndarray:
        return sine(multiple * (one.layer + 1) * midi_to_hz(one.pitch), one.n_frames / RATE)

    return AuditionSet(label, samples, read)


def page_data(page: Path) -> dict[str, Any]:
    """The page's JSON."""
    text = page.read_text(encoding="utf-8")
    found = re.search(r'<script type="application/json" id="page">(.*?)</script>', text, re.DOTALL)
    assert found
    data: dict[str, Any] = json.loads(found[1])
    return data


def embedded(page: Path, name: str) -> np.ndarray:
    """A sound of the page, (T, C)."""
    found = re.search(rf'id="{name}">([^<]*)</script>', page.read_text(encoding="utf-8"))
    assert found
    audio, rate = soundfile.read(io.BytesIO(base64.b64decode(found[1])), always_2d=True)
    assert rate == RATE
    samples: np.ndarray = audio
    return samples


# --- the file --------------------------------------------------------------------------------------------------------


def test_the_page_holds_the_notes_and_the_input_to_16_bits(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    stereo = np.stack([tone(330.0), 0.5 * tone(331.0)], axis=1)
    notes = AuditionSet("notes", [sample(60, seconds=0.5, channels=2)], lambda one: stereo)
    write_audition(page, "tone", [notes], [AuditionInput("tone.wav", tone(), RATE)])
    assert np.abs(embedded(page, "note-0-0") - stereo).max() <= 0.5 / 2**15 + 1e-9
    assert np.abs(embedded(page, "input-0")[:, 0] - tone()).max() <= 0.5 / 2**15 + 1e-9


@pytest.mark.parametrize("rate", [8_000, 44_056, 48_000, 192_000, 768_000])
def test_an_input_of_any_sample_rate_keeps_its_pitch_and_length(tmp_path: Path, rate: int) -> None:
    page = tmp_path / "page.html"
    audio = tone(440.0, 0.5, rate, n_harmonics=1)
    write_audition(page, "tone", [sines([60], seconds=0.1)], [AuditionInput("tone.wav", audio, rate)])
    heard = embedded(page, "input-0")[:, 0]
    assert len(heard) == pytest.approx(0.5 * RATE, abs=2)
    spectrum = np.abs(np.fft.rfft(heard * np.hanning(len(heard)), 2**17))
    assert np.argmax(spectrum) * RATE / 2**17 == pytest.approx(440.0, rel=1e-3)


def test_an_input_of_many_channels_can_be_heard(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    surround = np.stack([tone()] * 12, axis=1)
    write_audition(page, "tone", [sines([60], seconds=0.1)], [AuditionInput("tone.wav", surround, RATE)])
    assert embedded(page, "input-0").shape == (len(tone()), 1)


def test_notes_are_read_one_after_another_and_only_those_that_a_key_plays(tmp_path: Path) -> None:
    page, read = tmp_path / "page.html", []

    def remember(one: Sample) -> np.ndarray:
        read.append(one.pitch)
        return sine(440.0, 0.1)

    samples = [sample(pitch, seconds=0.1) for pitch in (60, 60.4, 60.5, 61)]  # between 60 and 61 there is no key
    write_audition(page, "tone", [AuditionSet("", samples, remember)], [])
    assert read == [60, 61]
    assert page_data(page)["sets"][0]["unheard"] == 2


def test_the_page_names_no_address(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    write_audition(page, "tone", [sines([60], seconds=0.1)], [AuditionInput("tone.wav", tone(), RATE)])
    text = page.read_text(encoding="utf-8")
    assert re.findall(r"https?://[^\s'\"]*", text) == ["http://www.w3.org/2000/svg"]  # a name, not a place
    assert all(target.startswith("data:") for target in re.findall(r'(?:src|href)="([^"]*)', text))
    assert "default-src 'none'" in text


@pytest.mark.parametrize("title", [ODD_NAME, "Größe 音", "\udcff.wav", "$style", "<!-- sounds -->"])
def test_a_file_name_never_becomes_code(tmp_path: Path, title: str) -> None:
    page = tmp_path / "page.html"
    write_audition(
        page, title, [sines([60], title, seconds=0.1)], [AuditionInput(title, tone(), RATE)], [(title, title)]
    )
    data = page_data(page)
    assert data["sets"][0]["label"] == data["inputs"][0]["label"] == data["facts"][0][0] == title
    text = page.read_text(encoding="utf-8")
    assert len(re.findall("<script", text)) == 4
    assert len(re.findall("<!--", text)) == 0
    assert "<b>" not in text


# --- in a browser ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("chromium")) as browser:
        browser.send("Page.addScriptToEvaluateOnNewDocument", source=HEARING)
        yield browser


@pytest.fixture
def browser(chromium: Browser) -> Iterator[Browser]:
    """The browser; whatever a test does, the page must not complain or ask for anything but itself."""
    yield chromium
    assert chromium.troubles() == []
    assert {address.split(":")[0] for address in chromium.requests()} <= {"file"}


@pytest.fixture
def instrument(tmp_path: Path, browser: Browser) -> Browser:
    """A page of C4 to C5, with an input at 1 kHz, opened."""
    page = tmp_path / "page.html"
    given = AuditionInput("input.wav", sine(1000.0)[:, 0], RATE)
    write_audition(page, "sines", [sines(range(60, 73))], [given], [("Notes", "13")])
    browser.open(page)
    return browser


@in_a_browser
def test_a_key_plays_its_note_in_tune(instrument: Browser) -> None:
    assert instrument.ask("nContexts") == 0  # browsers allow sound only after a gesture
    instrument.key("KeyH", "h", lambda: instrument.wait_for(f"hears({midi_to_hz(69)})"))
    assert instrument.ask("hearing.context.state") == "running"
    instrument.wait_for("document.querySelector('#spoken').textContent === 'A4'")
    assert instrument.ask("document.querySelector('.panel:last-child').innerText").startswith("A4")


@pytest.mark.thorough
@in_a_browser
def test_a_key_plays_its_takes_in_turn(tmp_path: Path, browser: Browser) -> None:
    takes = [replace(sample(69.0), take=take, path=Path(f"take{take}.wav")) for take in range(2)]
    heard = AuditionSet("takes", takes, lambda one: sine((440.0, 660.0)[one.take]))
    write_audition(tmp_path / "page.html", "takes", [heard], [])
    browser.open(tmp_path / "page.html")
    for hz in (440.0, 660.0, 440.0):
        browser.key("KeyH", "h", lambda hz=hz: browser.wait_for(f"hears({hz})"))  # type: ignore[misc]
        browser.wait_for("heardLevel() < 0.01")


@in_a_browser
def test_a_key_without_a_note_is_in_tune(instrument: Browser) -> None:
    place = instrument.place("[data-key='57']")
    instrument.mouse("mousePressed", place)
    instrument.wait_for(f"hears({midi_to_hz(57)})")
    instrument.mouse("mouseReleased", place)
    assert "resampled from C4" in instrument.ask("document.querySelector('.panel:last-child').innerText")


@in_a_browser
def test_the_mouse_glides_over_the_keys(instrument: Browser) -> None:
    instrument.mouse("mousePressed", instrument.place("[data-key='60']"))
    for key in (62, 64):
        instrument.mouse("mouseMoved", instrument.place(f"[data-key='{key}']"))
        assert instrument.ask("[...document.querySelectorAll('.pressed')].map((e) => e.dataset.key)") == [str(key)]
    instrument.mouse("mouseReleased", instrument.place("[data-key='64']"))
    assert instrument.ask("document.querySelectorAll('.pressed').length") == 0


@in_a_browser
def test_several_fingers_play_a_chord(instrument: Browser) -> None:
    places = [instrument.place(f"[data-key='{key}']") for key in (60, 64, 67)]
    points = [{"x": x, "y": y, "id": index} for index, (x, y) in enumerate(places)]
    instrument.send("Input.dispatchTouchEvent", type="touchStart", touchPoints=points)
    assert instrument.ask("[...document.querySelectorAll('.pressed')].map((e) => e.dataset.key)") == ["60", "64", "67"]
    points[2]["x"], points[2]["y"] = instrument.place("[data-key='69']")
    instrument.send("Input.dispatchTouchEvent", type="touchMove", touchPoints=points)
    assert instrument.ask("[...document.querySelectorAll('.pressed')].map((e) => e.dataset.key)") == ["60", "64", "69"]
    instrument.send("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])
    assert instrument.ask("document.querySelectorAll('.pressed').length") == 0
    instrument.wait_for("heardLevel() > 0.1")  # the end of a touch lets sound begin; its notes are not lost
    assert all("not allowed to start" in trouble for trouble in instrument.troubles())
    instrument.events.clear()


@in_a_browser
def test_the_tab_key_reaches_the_piano_and_arrows_its_keys(instrument: Browser) -> None:
    reached = []
    for _ in range(3):
        instrument.key("Tab", "Tab")
        reached.append(instrument.ask("document.activeElement.getAttribute('aria-label')"))
    assert reached[:2] == ["Play the input input.wav", "C4"]
    assert reached[2] in ("Octave down", "Octave up", None)  # all keys are one stop
    instrument.ask("document.querySelector('[data-key=\"60\"]').focus()")
    for arrow, name in (("ArrowRight", "C♯4"), ("ArrowRight", "D4"), ("ArrowUp", "D5"), ("ArrowDown", "D4")):
        instrument.key(arrow, arrow)
        assert instrument.ask("document.activeElement.getAttribute('aria-label')").split(",")[0] == name
    instrument.key("Enter", "Enter", lambda: instrument.wait_for(f"hears({midi_to_hz(62)})"))
    assert instrument.ask("getComputedStyle(document.activeElement).outlineStyle") != "none"


@in_a_browser
def test_z_and_x_change_the_octave(instrument: Browser) -> None:
    instrument.key("KeyX", "x")
    instrument.key("KeyA", "a", lambda: instrument.wait_for(f"hears({midi_to_hz(72)})"))


@in_a_browser
def test_the_input_is_played_and_stopped(instrument: Browser) -> None:
    instrument.click("#ring")
    instrument.key("Digit1", "1")
    instrument.wait_for("hears(1000)")
    assert instrument.ask("document.querySelector('.panel button').textContent") == "Stop"
    instrument.key("Digit1", "1")
    instrument.wait_for("heardLevel() === 0")


@in_a_browser
def test_pictures_show_the_pitch_of_what_is_heard(instrument: Browser) -> None:
    brightest_hz = """(() => {
      const canvas = document.querySelectorAll(".spectrogram")[PANEL];
      const context = new OffscreenCanvas(canvas.width, canvas.height).getContext("2d", { willReadFrequently: true });
      context.drawImage(canvas, 0, 0);
      const column = context.getImageData(canvas.width / 2, 0, 1, canvas.height).data;
      let [best, row] = [-1, 0];
      for (let y = 0; y < canvas.height; y++) if (column[4 * y + 1] > best) [best, row] = [column[4 * y + 1], y];
      return best < 200 ? 0 : 40 * (18000 / 40) ** (1 - (row + 0.5) / canvas.height);
    })()"""
    instrument.wait_for(f"Math.abs({brightest_hz.replace('PANEL', '0')} / 1000 - 1) < 0.06")
    instrument.key("KeyH", "h")
    instrument.wait_for(f"Math.abs({brightest_hz.replace('PANEL', '1')} / 440 - 1) < 0.06")


@pytest.mark.thorough
@in_a_browser
def test_a_note_ends_with_its_key_unless_notes_ring(instrument: Browser) -> None:
    sounded_s = []
    for _ in ("ringing", "not ringing"):
        instrument.key("KeyA", "a", lambda: instrument.wait_for("heardLevel() > 0.1"))
        let_go_s = instrument.ask("hearing.context.currentTime")
        instrument.wait_for("heardLevel() === 0")
        sounded_s.append(instrument.ask("hearing.context.currentTime") - let_go_s)
        instrument.click("#ring")
    assert sounded_s[0] > 1.0  # of 2 s
    assert sounded_s[1] < 0.8  # the release, and what the test takes to notice


@in_a_browser
def test_a_looped_note_sounds_as_long_as_its_key_is_held(tmp_path: Path, browser: Browser) -> None:
    page = tmp_path / "page.html"
    period = RATE // 441  # of a sine of 441 Hz: the loop is seamless
    looped = sample(69, seconds=0.2, loop=Loop(20 * period, 80 * period))
    write_audition(page, "loop", [AuditionSet("", [looped], lambda one: sine(441.0, 0.2))], [])
    browser.open(page)

    def hold() -> None:
        browser.wait_for("hears(441)")
        levels = browser.ask(
            "new Promise((done) => { const levels = []; const ask = () => { levels.push(heardLevel());"
            " levels.length < 20 ? setTimeout(ask, 50) : done(levels); }; ask(); })"
        )
        assert min(levels) > 0.9 * max(levels) > 0.1  # five times its length, without a gap

    browser.ask("document.querySelector('[data-key=\"69\"]').focus()")
    browser.key("Enter", "Enter", hold)
    browser.wait_for("heardLevel() === 0")


@in_a_browser
def test_the_slider_chooses_the_mix_and_held_notes_go_over(tmp_path: Path, browser: Browser) -> None:
    page = tmp_path / "page.html"
    steps = [sines([60, 64], f"{25 * step} %", step + 1) for step in range(5)]
    write_audition(page, "mix", steps, [])
    browser.open(page)

    def slide() -> None:
        browser.wait_for(f"hears({midi_to_hz(60)})")
        browser.ask("document.querySelector('#step').focus()")
        for step in (2, 3, 4, 5):
            browser.send("Input.dispatchKeyEvent", type="keyDown", key="ArrowRight", windowsVirtualKeyCode=39)
            browser.wait_for(f"hears({step * midi_to_hz(60)})")
        assert browser.ask("document.querySelector('#step').getAttribute('aria-valuetext')") == "100 %"

    browser.key("KeyA", "a", slide)


@in_a_browser
def test_midi_velocity_chooses_the_layer_and_the_pedal_holds(tmp_path: Path, browser: Browser) -> None:
    page = tmp_path / "page.html"
    write_audition(page, "layers", [sines([60], layers=2, loop=Loop(0, RATE))], [])
    browser.open(page)
    browser.click("#midi")
    browser.wait_for("document.querySelector('#midi-state').textContent === 'Listening to Keys'")
    for velocity, multiple in ((40, 1), (120, 2)):
        browser.ask(f"playMidi(0x90, 60, {velocity})")
        browser.wait_for(f"hears({multiple * midi_to_hz(60)})")
        wanted = 0.4 * 0.8**2 * velocity_gain(velocity, 2)  # the sine, the volume, the velocity
        browser.wait_for(f"Math.abs(heardLevel() / {wanted} - 1) < 0.02")
        browser.ask("playMidi(0x90, 60, 0)")
        browser.wait_for("heardLevel() === 0")
    browser.ask("playMidi(0xb0, 64, 127); playMidi(0x91, 60, 120); playMidi(0x81, 60, 0)")
    browser.ask("new Promise((done) => setTimeout(done, 400))")
    assert browser.ask(f"hears({2 * midi_to_hz(60)})")
    browser.ask("playMidi(0xb0, 64, 0)")
    browser.wait_for("heardLevel() === 0")


@in_a_browser
def test_a_browser_without_midi_says_so(instrument: Browser) -> None:
    instrument.ask("navigator.requestMIDIAccess = undefined")
    instrument.click("#midi")
    instrument.wait_for("document.querySelector('#midi-state').textContent.includes('no Web MIDI')")


@in_a_browser
def test_an_odd_file_name_is_shown_as_it_is(tmp_path: Path, browser: Browser) -> None:
    page = tmp_path / "page.html"
    sets = [sines([60], label, seconds=0.3) for label in (ODD_NAME, "b")]
    write_audition(page, ODD_NAME, sets, [AuditionInput(ODD_NAME, tone(), RATE)], [(ODD_NAME, ODD_NAME)])
    browser.open(page)
    for selector in ("h1", "h2", "dt", "dd", "#first-step", "#chosen-step", "title"):
        assert browser.ask(f"document.querySelector('{selector}').textContent") == ODD_NAME
    assert browser.ask("document.title") == ODD_NAME
    assert browser.ask("document.querySelectorAll('b').length") == 0


@in_a_browser
def test_a_damaged_sound_is_told(tmp_path: Path, browser: Browser) -> None:
    page = tmp_path / "page.html"
    write_audition(page, "tone", [sines([60], seconds=0.1)], [])
    page.write_text(re.sub('id="note-0-0">.*?<', 'id="note-0-0">AAAA<', page.read_text(encoding="utf-8")))
    browser.open(page)
    browser.key("KeyA", "a")
    browser.wait_for("!document.querySelector('#error').hidden")
    assert "cannot decode" in browser.ask("document.querySelector('#error').textContent")


@in_a_browser
def test_nothing_can_leave_the_page(tmp_path: Path, chromium: Browser) -> None:
    page, asked = tmp_path / "page.html", []

    class Listener(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(204)
            self.end_headers()

        def log_message(self, *arguments: object) -> None:
            pass

    write_audition(page, "tone", [sines([60], seconds=0.1)], [])
    with ThreadingHTTPServer(("127.0.0.1", 0), Listener) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        chromium.send("Page.navigate", url=f"{address}/before")  # the listener hears what is not forbidden
        chromium.open(page)
        for leak in (
            f"fetch('{address}/fetch').catch(() => 0)",
            "new Promise((done) => { const image = new Image(); image.onerror = done;"
            f" image.src = '{address}/image'; }})",
            f"navigator.sendBeacon('{address}/beacon')",
            "new Promise((done) => { const script = document.createElement('script'); script.onerror = done;"
            f" script.src = '{address}/script'; document.head.append(script); }})",
        ):
            chromium.ask(leak)
        server.shutdown()
    assert [path for path in asked if path != "/favicon.ico"] == ["/before"]


@in_a_browser
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_text_can_be_read_in_light_and_dark(instrument: Browser, theme: str) -> None:
    instrument.send("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": theme}])
    contrasts = instrument.ask(f"({CONTRASTS})({json.dumps(TEXTS)})")
    instrument.send("Emulation.setEmulatedMedia", features=[])
    assert {selector: ratio for selector, ratio in contrasts if ratio < 4.5} == {}  # WCAG 2.2, 1.4.3


@in_a_browser
def test_a_phone_shows_the_page_without_scrolling_sideways(instrument: Browser) -> None:
    instrument.send("Emulation.setDeviceMetricsOverride", width=360, height=740, deviceScaleFactor=2, mobile=True)
    try:
        assert instrument.ask("document.documentElement.scrollWidth") == 360
        assert instrument.ask("document.querySelector('.key.white').getBoundingClientRect().width") >= 29
        bottom = instrument.ask("document.querySelector('#keyboard').getBoundingClientRect().bottom")
        assert bottom <= 740  # the keyboard is in reach without scrolling
    finally:
        instrument.send("Emulation.clearDeviceMetricsOverride")


@in_a_browser
def test_nothing_moves_for_those_who_ask_for_it(instrument: Browser) -> None:
    features = [{"name": "prefers-reduced-motion", "value": "reduce"}]
    instrument.send("Emulation.setEmulatedMedia", features=features)
    instrument.key("KeyA", "a", lambda: instrument.wait_for(f"hears({midi_to_hz(60)})"))
    instrument.send("Emulation.setEmulatedMedia", features=[])
    assert instrument.ask("[...document.querySelectorAll('.playhead')].every((line) => line.hidden)")
