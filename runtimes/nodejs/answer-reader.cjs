'use strict';
// Incremental parser of HTTP/1.1 answers: heads, bodies with a length, chunked bodies, bodies up to the end.

const HEAD = 0;
const FIXED = 1;
const CHUNK_SIZE = 2;
const CHUNK = 3;
const CHUNK_END = 4;
const TRAILERS = 5;
const TO_END = 6;

const EMPTY = Buffer.alloc(0);

/** Reads one answer after another; what follows an answer is kept for the next. */
class AnswerReader {
  constructor() {
    this._rest = EMPTY;
    this._begin();
  }

  _begin() {
    this._state = HEAD;
    this._answer = undefined;
    this._pieces = [];
    this._missing = 0;
  }

  /** Whether part of an answer has come. */
  get started() {
    return this._state !== HEAD || this._rest.length > 0;
  }

  /** Takes bytes; returns `{status, headers, body}` when an answer is whole. Throws if it is not HTTP. */
  push(bytes) {
    this._rest = this._rest.length === 0 ? bytes : Buffer.concat([this._rest, bytes]);
    while (this._step()) {
      if (this._state === HEAD && this._answer) {
        return this._finish();
      }
    }
    return undefined;
  }

  /** The connection has ended: completes a body that is delimited by that. */
  end() {
    return this._state === TO_END ? this._finish() : undefined;
  }

  _finish() {
    const answer = this._answer;
    answer.body = this._pieces.length === 1 ? this._pieces[0] : Buffer.concat(this._pieces);
    this._begin();
    return answer;
  }

  /** Does one piece of work; false when it needs more bytes. */
  _step() {
    switch (this._state) {
      case HEAD:
        return this._head();
      case FIXED:
        return this._take() && this._enter(HEAD);
      case CHUNK_SIZE:
        return this._chunkSize();
      case CHUNK:
        return this._take() && this._enter(CHUNK_END);
      case CHUNK_END:
        return this._line('\r\n') !== undefined && this._enter(CHUNK_SIZE);
      case TRAILERS: {
        const line = this._line('\r\n');
        return line !== undefined && this._enter(line === '' ? HEAD : TRAILERS);
      }
      default: {
        const more = this._rest.length > 0;
        this._pieces.push(this._rest);
        this._rest = EMPTY;
        return more;
      }
    }
  }

  _enter(state) {
    this._state = state;
    return true;
  }

  _head() {
    const head = this._line('\r\n\r\n');
    if (head === undefined) {
      return false;
    }
    const lines = head.split('\r\n');
    const status = parseInt(lines[0].split(' ', 2)[1], 10);
    if (!lines[0].startsWith('HTTP/1.') || !(status >= 100)) {
      throw new Error(`not an HTTP answer: ${lines[0]}`);
    }
    if (status < 200) {
      return true; // an interim answer: the real one follows
    }
    const headers = {};
    for (let i = 1; i < lines.length; i++) {
      const colon = lines[i].indexOf(':');
      headers[lines[i].slice(0, colon).toLowerCase()] = lines[i].slice(colon + 1).trim();
    }
    this._answer = { status, headers, body: EMPTY };
    return this._enter(this._bodyState(status, headers));
  }

  _bodyState(status, headers) {
    if (headers['transfer-encoding']?.toLowerCase().includes('chunked')) {
      return CHUNK_SIZE;
    }
    if (headers['content-length'] !== undefined) {
      this._missing = parseInt(headers['content-length'], 10);
      return FIXED;
    }
    return status === 204 ? HEAD : TO_END;
  }

  _chunkSize() {
    const line = this._line('\r\n');
    if (line === undefined) {
      return false;
    }
    this._missing = parseInt(line, 16);
    if (!(this._missing >= 0)) {
      throw new Error(`bad chunk size: ${line}`);
    }
    return this._enter(this._missing === 0 ? TRAILERS : CHUNK);
  }

  /** Moves what has come of a body of known size; true when it is all there. */
  _take() {
    const piece = this._rest.length <= this._missing ? this._rest : this._rest.subarray(0, this._missing);
    this._rest = this._rest.subarray(piece.length);
    this._missing -= piece.length;
    this._pieces.push(piece);
    return this._missing === 0;
  }

  /** What precedes `mark`, both consumed; undefined while the mark has not come. */
  _line(mark) {
    const end = this._rest.indexOf(mark);
    if (end < 0) {
      return undefined;
    }
    const line = this._rest.toString('utf8', 0, end);
    this._rest = this._rest.subarray(end + mark.length);
    return line;
  }
}

module.exports = { AnswerReader };
