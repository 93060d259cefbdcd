// Waveform and spectrogram of a decoded sound.

const N_FFT = 2048;
const ROWS = 160;
const MOST_COLUMNS = 480;
const LOWEST_HZ = 40;
const HIGHEST_HZ = 18000;
const FREQUENCY_LABELS = [[100, "100 Hz"], [1000, "1 kHz"], [10000, "10 kHz"]];
const SLICE_MS = 8; // of drawing at once, so that keys stay quick

const WINDOW = Float64Array.from({ length: N_FFT }, (_, n) => 0.5 - 0.5 * Math.cos((2 * Math.PI * n) / N_FFT));
const COSINES = Float64Array.from({ length: N_FFT / 2 }, (_, n) => Math.cos((2 * Math.PI * n) / N_FFT));
const SINES = Float64Array.from({ length: N_FFT / 2 }, (_, n) => -Math.sin((2 * Math.PI * n) / N_FFT));
const REVERSED = Uint16Array.from({ length: N_FFT }, (_, n) => {
  let reversed = 0;
  for (let bit = 1; bit < N_FFT; bit *= 2) reversed = 2 * reversed + (n & bit ? 1 : 0);
  return reversed;
});

/** Fourier transform in place, of arrays in bit-reversed order (Cooley and Tukey, radix 2). */
function transform(real, imaginary) {
  for (let half = 1; half < N_FFT; half *= 2) {
    const stride = N_FFT / (2 * half);
    for (let begin = 0; begin < N_FFT; begin += 2 * half) {
      for (let k = 0; k < half; k++) {
        const [low, high, turn] = [begin + k, begin + k + half, k * stride];
        const re = real[high] * COSINES[turn] - imaginary[high] * SINES[turn];
        const im = real[high] * SINES[turn] + imaginary[high] * COSINES[turn];
        real[high] = real[low] - re;
        imaginary[high] = imaginary[low] - im;
        real[low] += re;
        imaginary[low] += im;
      }
    }
  }
}

/** Levels in dB of a sound played at a rate: ROWS by columns, the lowest frequency first. */
async function spectrogram(buffer, rate, nColumns, isCurrent) {
  const [left, right] = [buffer.getChannelData(0), buffer.numberOfChannels > 1 ? buffer.getChannelData(1) : null];
  const binsPerHz = N_FFT / buffer.sampleRate / rate;
  const edges = Float64Array.from(
    { length: ROWS + 1 },
    (_, row) => LOWEST_HZ * (HIGHEST_HZ / LOWEST_HZ) ** (row / ROWS) * binsPerHz,
  );
  const levels = new Float32Array(ROWS * nColumns);
  const [real, imaginary] = [new Float64Array(N_FFT), new Float64Array(N_FFT)];
  const power = new Float64Array(N_FFT / 2 + 2);
  let pauseAt = performance.now() + SLICE_MS;
  for (let column = 0; column < nColumns; column++) {
    if (performance.now() > pauseAt) {
      await new Promise((resume) => setTimeout(resume));
      if (!isCurrent()) return null;
      pauseAt = performance.now() + SLICE_MS;
    }
    const begin = Math.round(((column + 0.5) / nColumns) * buffer.length) - N_FFT / 2;
    for (let n = 0; n < N_FFT; n++) {
      const at = begin + n;
      const inside = at >= 0 && at < buffer.length;
      real[REVERSED[n]] = inside ? left[at] * WINDOW[n] : 0;
      imaginary[REVERSED[n]] = inside && right ? right[at] * WINDOW[n] : 0;
    }
    transform(real, imaginary);
    // With one channel as the real part and one as the imaginary, bins k and -k together hold the power of both.
    for (let k = 0; k <= N_FFT / 2; k++) {
      const mirror = (N_FFT - k) % N_FFT;
      power[k] = real[k] ** 2 + imaginary[k] ** 2 + real[mirror] ** 2 + imaginary[mirror] ** 2;
    }
    for (let row = 0; row < ROWS; row++) {
      levels[row * nColumns + column] = 10 * Math.log10(strongest(power, edges[row], edges[row + 1]) + 1e-12);
    }
  }
  return levels;
}

/** The strongest power between two places among the bins; between bins, the line that joins them. */
function strongest(power, low, high) {
  if (low >= N_FFT / 2) return 0; // above what the sound holds
  const middle = (low + high) / 2;
  const whole = Math.min(Math.floor(middle), N_FFT / 2);
  let most = power[whole] + (middle - whole) * (power[whole + 1] - power[whole]);
  for (let k = Math.ceil(low); k < high && k <= N_FFT / 2; k++) most = Math.max(most, power[k]);
  return most;
}

/** A colour, [r, g, b], of a brightness 0 … 1. */
function colourOf(brightness, palette) {
  const position = Math.min(Math.max(brightness, 0), 1) * (palette.length - 1);
  const low = Math.min(Math.floor(position), palette.length - 2);
  return palette[low].map((value, index) => value + (position - low) * (palette[low + 1][index] - value));
}

/** Fits a canvas to its place on the screen and gives its context, in CSS pixels. */
function prepare(canvas) {
  const scale = window.devicePixelRatio || 1;
  const { clientWidth: width, clientHeight: height } = canvas;
  canvas.width = Math.max(1, Math.round(width * scale));
  canvas.height = Math.max(1, Math.round(height * scale));
  const context = canvas.getContext("2d");
  context.scale(scale, scale);
  return { context, width, height };
}

function drawWave(canvas, buffer) {
  const { context, width, height } = prepare(canvas);
  context.fillStyle = getComputedStyle(canvas).getPropertyValue("--wave");
  for (let channel = 0; channel < buffer.numberOfChannels; channel++) {
    const samples = buffer.getChannelData(channel);
    const band = height / buffer.numberOfChannels;
    const middle = band * (channel + 0.5);
    for (let x = 0; x < width; x++) {
      let [low, high] = [0, 0];
      const end = Math.min(samples.length, Math.ceil(((x + 1) / width) * samples.length));
      for (let at = Math.floor((x / width) * samples.length); at < end; at++) {
        if (samples[at] < low) low = samples[at];
        if (samples[at] > high) high = samples[at];
      }
      const top = middle - high * band * 0.48;
      context.fillRect(x, top, 1, Math.max(1, (high - low) * band * 0.48));
    }
  }
}

async function drawSpectrogram(canvas, buffer, rate, { palette, rangeDb }, isCurrent) {
  const nColumns = Math.max(1, Math.min(MOST_COLUMNS, canvas.clientWidth));
  const levels = await spectrogram(buffer, rate, nColumns, isCurrent);
  if (!levels || !isCurrent()) return;
  let loudest = -Infinity;
  for (const level of levels) if (level > loudest) loudest = level;
  const image = new ImageData(nColumns, ROWS);
  const colours = Array.from({ length: 256 }, (_, index) => colourOf(index / 255, palette));
  for (let row = 0; row < ROWS; row++) {
    for (let column = 0; column < nColumns; column++) {
      const brightness = (levels[(ROWS - 1 - row) * nColumns + column] - loudest) / rangeDb + 1;
      const colour = colours[Math.round(255 * Math.max(0, brightness))];
      image.data.set([...colour, 255], 4 * (row * nColumns + column));
    }
  }
  const small = Object.assign(document.createElement("canvas"), { width: nColumns, height: ROWS });
  small.getContext("2d").putImageData(image, 0, 0);
  const { context, width, height } = prepare(canvas);
  context.drawImage(small, 0, 0, width, height);
  context.font = "11px system-ui, sans-serif";
  context.fillStyle = "white";
  Object.assign(context, { shadowColor: "black", shadowBlur: 4 }); // legible on bright colours, too
  context.textBaseline = "middle";
  for (const [hz, label] of FREQUENCY_LABELS) {
    const y = height * (1 - Math.log(hz / LOWEST_HZ) / Math.log(HIGHEST_HZ / LOWEST_HZ));
    context.fillRect(0, y, 5, 1);
    context.fillText(label, 9, y);
  }
  const duration = `${(buffer.duration / rate).toFixed(2)} s`;
  context.textAlign = "right";
  context.fillText(duration, width - 6, height - 10);
}
