// Runs in the browser's audio thread: collects samples into pieces.
registerProcessor("recorder", class extends AudioWorkletProcessor {
  constructor({ processorOptions: { piece } }) {
    super();
    this.piece = piece;
    this.filled = 0;
    this.channels = [];
  }

  process([input]) {
    if (input.length === 0) return true;
    if (this.channels.length !== input.length) {
      this.channels = input.map(() => new Float32Array(this.piece));
      this.filled = 0;
    }
    const length = input[0].length;
    const room = Math.min(length, this.piece - this.filled);
    input.forEach((samples, channel) => this.channels[channel].set(samples.subarray(0, room), this.filled));
    this.filled += room;
    if (this.filled === this.piece) {
      this.port.postMessage(this.channels);
      this.channels = input.map(() => new Float32Array(this.piece));
      input.forEach((samples, channel) => this.channels[channel].set(samples.subarray(room)));
      this.filled = length - room;
    }
    return true;
  }
});
