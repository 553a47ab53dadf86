package lambfold.runtime;

import java.io.BufferedInputStream;
import java.io.EOFException;
import java.io.IOException;
import java.net.Socket;
import java.nio.charset.StandardCharsets;
import java.util.HashMap;
import java.util.Locale;
import java.util.Map;

/** Speaks the Runtime API on one kept-alive connection, which is opened again when it was dropped. */
final class Client {
    record Answer(int status, Map<String, String> headers, byte[] body) {
        String header(String name) {
            return headers.get(name);
        }
    }

    private static final String BASE = "/2018-06-01/runtime/";

    private final String address;
    private Socket socket;
    private BufferedInputStream input;

    Client(String address) {
        this.address = address;
    }

    /** Blocks without a limit: the process may be frozen in here for hours. */
    Answer next() throws IOException {
        return request("GET", "invocation/next", null, Map.of());
    }

    Answer postResponse(String id, byte[] body) throws IOException {
        return request("POST", "invocation/" + id + "/response", body, Map.of("Content-Type", "application/json"));
    }

    Answer postError(String id, byte[] body, String type) throws IOException {
        return request("POST", "invocation/" + id + "/error", body, errorHeaders(type));
    }

    Answer postInitError(byte[] body, String type) throws IOException {
        return request("POST", "init/error", body, errorHeaders(type));
    }

    /** Returns when what stands in a snapshot is to go on. */
    Answer restoreNext() throws IOException {
        return request("GET", "restore/next", null, Map.of());
    }

    Answer postRestoreError(byte[] body, String type) throws IOException {
        return request("POST", "restore/error", body, errorHeaders(type));
    }

    private static Map<String, String> errorHeaders(String type) {
        return Map.of("Content-Type", "application/json", "Lambda-Runtime-Function-Error-Type", type);
    }

    private Answer request(String method, String path, byte[] body, Map<String, String> headers) throws IOException {
        boolean fresh = socket == null;
        try {
            return attempt(method, path, body, headers);
        } catch (IOException dropped) {
            close();
            if (fresh) {
                throw dropped;
            }
            // It was dropped while it was idle.
            return attempt(method, path, body, headers);
        }
    }

    private Answer attempt(String method, String path, byte[] body, Map<String, String> headers) throws IOException {
        if (socket == null) {
            int colon = address.indexOf(':');
            socket = new Socket(address.substring(0, colon), Integer.parseInt(address.substring(colon + 1)));
            socket.setTcpNoDelay(true);
            input = new BufferedInputStream(socket.getInputStream(), 16384);
        }
        StringBuilder head = new StringBuilder(256);
        head.append(method).append(' ').append(BASE).append(path).append(" HTTP/1.1\r\nHost: ").append(address);
        head.append("\r\nUser-Agent: lambfold-java\r\n");
        headers.forEach((name, value) -> head.append(name).append(": ").append(value).append("\r\n"));
        if (body != null) {
            head.append("Content-Length: ").append(body.length).append("\r\n");
        }
        byte[] start = head.append("\r\n").toString().getBytes(StandardCharsets.ISO_8859_1);
        byte[] message = body == null ? start : new byte[start.length + body.length];
        if (body != null) {
            System.arraycopy(start, 0, message, 0, start.length);
            System.arraycopy(body, 0, message, start.length, body.length);
        }
        socket.getOutputStream().write(message);
        return read();
    }

    private Answer read() throws IOException {
        int status = Integer.parseInt(line().split(" ", 3)[1]);
        Map<String, String> headers = new HashMap<>();
        for (String line = line(); !line.isEmpty(); line = line()) {
            int colon = line.indexOf(':');
            headers.put(line.substring(0, colon).toLowerCase(Locale.ROOT), line.substring(colon + 1).trim());
        }
        int length = Integer.parseInt(headers.getOrDefault("content-length", "0"));
        byte[] body = input.readNBytes(length);
        if (body.length < length) {
            throw new EOFException("the answer ended early");
        }
        return new Answer(status, headers, body);
    }

    private String line() throws IOException {
        StringBuilder line = new StringBuilder(64);
        while (true) {
            int read = input.read();
            if (read < 0) {
                throw new EOFException("the connection was closed");
            }
            if (read == '\n') {
                return line.toString();
            }
            if (read != '\r') {
                line.append((char) read);
            }
        }
    }

    private void close() {
        try {
            if (socket != null) {
                socket.close();
            }
        } catch (IOException ignored) {
            // It is gone anyway.
        } finally {
            socket = null;
        }
    }
}
