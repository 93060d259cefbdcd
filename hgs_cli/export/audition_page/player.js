// Sounds and voices. Nothing here knows of the page's elements but for the script elements that hold the sounds.

const RELEASE_S = 0.12;
const SWITCH_S = 0.012; // fade between two sounds of one note, against a click
const FIRST_TAP_MS = 300; // a first touch may be over before the browser lets sound begin
const MOST_DECODED_BYTES = 192e6;
const LINEAR_TO = 0.9; // of full scale; what is louder is rounded off instead of clipped
const MOST_LEVEL = 8;

/** Decoded sounds: each decoded when it is first needed, the longest unused forgotten. */
class Sounds {
  #decoder;
  #kept = new Map(); // id → {promise, buffer, bytes}
  #bytes = 0;

  constructor(sampleRate) {
    this.#decoder = new OfflineAudioContext(1, 1, sampleRate); // decodes before any gesture, where an AudioContext may not
  }

  /** The sound if it is decoded. */
  ready(id) {
    return this.#kept.get(id)?.buffer;
  }

  /** The sound, decoded now if it is not yet. */
  get(id) {
    const entry = this.#kept.get(id) ?? { promise: null, buffer: null, bytes: 0 };
    this.#kept.delete(id); // to the end of the order of use
    this.#kept.set(id, entry);
    entry.promise ??= this.#decode(id, entry);
    return entry.promise;
  }

  /** Whether more can be decoded ahead without forgetting any. */
  get hasRoom() {
    return this.#bytes < MOST_DECODED_BYTES / 2;
  }

  async #decode(id, entry) {
    try {
      const text = atob(document.getElementById(id).textContent);
      const bytes = Uint8Array.from(text, (character) => character.charCodeAt(0));
      const buffer = await this.#decoder.decodeAudioData(bytes.buffer);
      entry.buffer = buffer;
      entry.bytes = 4 * buffer.length * buffer.numberOfChannels;
      this.#bytes += entry.bytes;
      for (const [other, { buffer: old, bytes: freed }] of this.#kept) {
        if (this.#bytes <= MOST_DECODED_BYTES) break;
        if (old && other !== id) {
          this.#kept.delete(other);
          this.#bytes -= freed;
        }
      }
      return buffer;
    } catch (error) {
      this.#kept.delete(id);
      throw new Error(`The browser cannot decode the sound ${id}: ${error.message || error.name}.`);
    }
  }
}

/** One sounding thing: a note or an input. It may change its sound while it sounds. */
class Voice {
  #output;
  #source = null;
  #wanted = null;
  #released = false;
  #startedAt = 0; // context time at which the position in the sound would have been 0

  constructor(output, { rings = false, onEnd = () => {} } = {}) {
    this.#output = output;
    this.rings = rings; // a release leaves a sound without a loop to its end
    this.onEnd = onEnd;
    this.ended = false;
  }

  /** Plays a sound, {id, rate, loop, gain}, from where the last one has come to, else from its beginning. */
  async play(sound, sounds) {
    this.#wanted = sound;
    const buffer = sounds.ready(sound.id) ?? (await sounds.get(sound.id));
    if (this.#wanted !== sound || this.ended) return; // another sound was chosen meanwhile
    const position = this.position ?? 0;
    const late = this.#released; // the key was let go before the sound was decoded
    this.#cut(SWITCH_S);
    this.#start(sound, buffer, position);
    if (late) this.#fadeOut();
  }

  /** Whether it goes on sounding: held, or let go and ringing. */
  get lasts() {
    return !this.ended && (!this.#released || (this.rings && !this.#wanted?.loop));
  }

  /** Seconds into the sound; null before it sounds. */
  get position() {
    if (!this.#source) return null;
    const { rate, node } = this.#source;
    const elapsed = (this.#output.context.currentTime - this.#startedAt) * rate;
    return node.loop && elapsed > node.loopEnd
      ? node.loopStart + ((elapsed - node.loopStart) % (node.loopEnd - node.loopStart))
      : elapsed;
  }

  /** Lets go of the note. */
  release() {
    const { context } = this.#output;
    if (context.state !== "running") {
      context.resume().then(() => setTimeout(() => this.release(), FIRST_TAP_MS));
      return;
    }
    this.#released = true;
    if (this.#source) this.#fadeOut();
  }

  /** Ends it whatever it does. */
  stop() {
    this.#wanted = null;
    if (this.#source) this.#cut(RELEASE_S);
    this.#finish();
  }

  #start({ rate, loop, gain }, buffer, position) {
    const { context } = this.#output;
    const node = new AudioBufferSourceNode(context, { buffer, playbackRate: rate });
    if (loop) Object.assign(node, { loop: true, loopStart: loop[0], loopEnd: loop[1] });
    if (position >= buffer.duration && !loop) return this.#finish();
    const level = new GainNode(context, { gain });
    if (position > 0) {
      level.gain.setValueAtTime(0, context.currentTime);
      level.gain.linearRampToValueAtTime(gain, context.currentTime + SWITCH_S);
    }
    node.connect(level).connect(this.#output);
    this.#source = { node, level, rate };
    this.#startedAt = context.currentTime - position / rate;
    node.addEventListener("ended", () => {
      level.disconnect();
      if (this.#source?.node === node) this.#finish();
    });
    node.start(0, position);
  }

  #fadeOut() {
    if (!this.lasts) this.#fade(this.#source, RELEASE_S);
  }

  #cut(seconds) {
    if (this.#source) this.#fade(this.#source, seconds);
    this.#source = null;
  }

  #fade({ node, level }, seconds) {
    const now = level.context.currentTime;
    level.gain.cancelScheduledValues(now);
    level.gain.setValueAtTime(level.gain.value, now);
    level.gain.linearRampToValueAtTime(0, now + seconds);
    node.stop(now + seconds);
  }

  #finish() {
    if (this.ended) return;
    this.ended = true;
    this.onEnd();
  }
}

/** The way from voices to the loudspeaker; made at the first gesture, as browsers demand. */
class Output {
  #volume = 1;

  constructor(sampleRate) {
    this.sampleRate = sampleRate;
    this.context = null;
    this.input = null;
  }

  /** Lets sound out; called from every gesture, since a context may be suspended at any time. */
  wake() {
    if (!this.context) {
      try {
        this.context = new AudioContext({ sampleRate: this.sampleRate, latencyHint: "interactive" });
      } catch {
        this.context = new AudioContext({ latencyHint: "interactive" }); // this rate is not offered
      }
      this.input = new GainNode(this.context, { gain: this.#volume });
      const quieter = new GainNode(this.context, { gain: 1 / MOST_LEVEL });
      this.input.connect(quieter).connect(this.#rounding()).connect(this.context.destination);
    }
    if (this.context.state !== "running") this.context.resume().catch(() => {}); // tried again at the next gesture
    return this.input;
  }

  set volume(value) {
    this.#volume = value;
    this.input?.gain.setTargetAtTime(value, this.context.currentTime, 0.01);
  }

  /** A shaper that leaves single notes as they are, and keeps chords below full scale. */
  #rounding() {
    const curve = Float32Array.from({ length: 4097 }, (_, index) => {
      const level = MOST_LEVEL * (index / 2048 - 1);
      const above = Math.max(0, Math.abs(level) - LINEAR_TO);
      const room = 1 - LINEAR_TO;
      return Math.sign(level) * (Math.min(Math.abs(level), LINEAR_TO) + room * Math.tanh(above / room));
    });
    return new WaveShaperNode(this.context, { curve });
  }
}
