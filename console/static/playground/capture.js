// Frames of a webcam and pieces of a microphone's sound, as a service takes them.

const WIDTH = 640;
const QUALITY = 0.85;
const PIECE = 8192; // samples

// Calls onframe with a JPEG of the webcam and its canvas as soon as ready() says so; returns a function that stops.
export async function webcam(onframe, ready) {
  const media = await navigator.mediaDevices.getUserMedia({ video: { width: { ideal: WIDTH }, facingMode: "user" } });
  const video = Object.assign(document.createElement("video"), { srcObject: media, muted: true, playsInline: true });
  await video.play();
  const picture = document.createElement("canvas");
  let going = true;
  const next = () => {
    if (!going) return;
    if (!ready() || !video.videoWidth) return void setTimeout(next, 20);
    const scale = Math.min(1, WIDTH / video.videoWidth);
    picture.width = Math.round(video.videoWidth * scale);
    picture.height = Math.round(video.videoHeight * scale);
    picture.getContext("2d").drawImage(video, 0, 0, picture.width, picture.height);
    picture.toBlob((jpeg) => {
      if (going && jpeg) onframe(jpeg, picture);
      setTimeout(next, 60);
    }, "image/jpeg", QUALITY);
  };
  next();
  return () => {
    going = false;
    for (const track of media.getTracks()) track.stop();
  };
}

// Calls onpiece with a WAV of 8192 frames each; stereo if the microphone has two channels and that many are wanted.
export async function microphone(onpiece, channels) {
  const audio = { channelCount: { ideal: channels }, echoCancellation: false, noiseSuppression: false, autoGainControl: false };
  const media = await navigator.mediaDevices.getUserMedia({ audio });
  const context = new AudioContext();
  await context.audioWorklet.addModule(new URL("./recorder.js", import.meta.url));
  const recorder = new AudioWorkletNode(context, "recorder", { channelCount: channels, channelCountMode: "explicit", processorOptions: { piece: PIECE } });
  recorder.port.onmessage = ({ data }) => onpiece(wav(data, context.sampleRate));
  context.createMediaStreamSource(media).connect(recorder);
  return () => {
    for (const track of media.getTracks()) track.stop();
    context.close();
  };
}

// PCM, 16 bit. samples: a Float32Array a channel.
export function wav(samples, rate) {
  const channels = samples.length;
  const frames = samples[0].length;
  const bytes = new DataView(new ArrayBuffer(44 + 2 * channels * frames));
  const text = (at, letters) => [...letters].forEach((letter, index) => bytes.setUint8(at + index, letter.charCodeAt(0)));
  text(0, "RIFF");
  bytes.setUint32(4, bytes.byteLength - 8, true);
  text(8, "WAVEfmt ");
  bytes.setUint32(16, 16, true);
  bytes.setUint16(20, 1, true);
  bytes.setUint16(22, channels, true);
  bytes.setUint32(24, rate, true);
  bytes.setUint32(28, 2 * channels * rate, true);
  bytes.setUint16(32, 2 * channels, true);
  bytes.setUint16(34, 16, true);
  text(36, "data");
  bytes.setUint32(40, 2 * channels * frames, true);
  for (let frame = 0; frame < frames; frame += 1) {
    for (let channel = 0; channel < channels; channel += 1) {
      const value = Math.max(-1, Math.min(1, samples[channel][frame]));
      bytes.setInt16(44 + 2 * (channels * frame + channel), Math.round(32767 * value), true);
    }
  }
  return new Blob([bytes], { type: "audio/wav" });
}

// The WAV inside the answer of text_to_speech: zlib in base64.
export async function spoken(sound) {
  const packed = Uint8Array.from(atob(sound), (letter) => letter.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Blob([await new Response(stream).arrayBuffer()], { type: "audio/wav" });
}
