package lambfold.runtime;

import com.amazonaws.services.lambda.runtime.LambdaLogger;
import com.amazonaws.services.lambda.runtime.logging.LogFormat;
import com.amazonaws.services.lambda.runtime.logging.LogLevel;
import java.io.FileOutputStream;
import java.io.IOException;
import java.io.OutputStream;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.time.Instant;
import java.time.ZoneOffset;
import java.time.format.DateTimeFormatter;
import java.time.temporal.ChronoUnit;
import java.util.LinkedHashMap;
import java.util.Map;

/** The function's log: records of any number of lines, with a level, in the format that the function asks for. */
final class FunctionLogger implements LambdaLogger {
    static final FunctionLogger INSTANCE = new FunctionLogger();

    private static final int TEXT_FRAME = 0xa55a0003;
    private static final int JSON_FRAME = 0xa55a0002;
    private static final int HEAD_BYTES = 16;
    private static final DateTimeFormatter TIME =
            DateTimeFormatter.ofPattern("yyyy-MM-dd'T'HH:mm:ss.SSS'Z'").withZone(ZoneOffset.UTC);

    private final LogFormat format = value("AWS_LAMBDA_LOG_FORMAT", LogFormat.TEXT, LogFormat::fromString);
    private final LogLevel lowest = value("AWS_LAMBDA_LOG_LEVEL", LogLevel.UNDEFINED, LogLevel::fromString);
    /** Where frames go; {@code null}: records are printed. */
    private final OutputStream frames = frames(System.getenv("_LAMBDA_TELEMETRY_LOG_FD"));
    private volatile String requestId;
    private volatile String tenantId;

    private FunctionLogger() {}

    /** What is logged from now on belongs to that invocation. */
    void setInvocation(String requestId, String tenantId) {
        this.requestId = requestId;
        this.tenantId = tenantId;
    }

    /** Also for code that has no context: {@code LambdaRuntime.getLogger()}. */
    void install() throws ReflectiveOperationException {
        var field = com.amazonaws.services.lambda.runtime.LambdaRuntime.class.getDeclaredField("logger");
        field.setAccessible(true);
        field.set(null, this);
    }

    /** A trace of the runtime's own: in JSON it is an error. */
    void logError(String trace) {
        log(trace, format == LogFormat.JSON ? LogLevel.ERROR : LogLevel.UNDEFINED);
    }

    @Override
    public void log(String message) {
        log(message, LogLevel.UNDEFINED);
    }

    @Override
    public void log(byte[] message) {
        log(message, LogLevel.UNDEFINED);
    }

    @Override
    public void log(String message, LogLevel level) {
        if (isEnabled(level)) {
            String text = String.valueOf(message);
            write((format == LogFormat.JSON ? json(text, level) : text(text, level)).getBytes(StandardCharsets.UTF_8), level);
        }
    }

    /** Bytes are written as they are, in either format. */
    @Override
    public void log(byte[] message, LogLevel level) {
        if (isEnabled(level)) {
            write(message == null ? "null".getBytes(StandardCharsets.UTF_8) : message, level);
        }
    }

    private boolean isEnabled(LogLevel level) {
        return level == LogLevel.UNDEFINED || level.compareTo(lowest) >= 0;
    }

    private static String text(String message, LogLevel level) {
        return level == LogLevel.UNDEFINED ? message : "[" + level + "] " + message;
    }

    private String json(String message, LogLevel level) {
        Map<String, Object> record = new LinkedHashMap<>();
        record.put("timestamp", TIME.format(Instant.now()));
        record.put("message", message);
        record.put("level", level);
        if (requestId != null) {
            record.put("AWSRequestId", requestId);
        }
        if (tenantId != null) {
            record.put("tenantId", tenantId);
        }
        return JsonWriter.write(record) + "\n";
    }

    private void write(byte[] record, LogLevel level) {
        synchronized (System.out) {
            // What was printed before comes before.
            System.out.flush();
            if (frames == null) {
                System.out.writeBytes(record);
                if (record.length == 0 || record[record.length - 1] != '\n') {
                    System.out.write('\n');
                }
                System.out.flush();
                return;
            }
            int type = (format == LogFormat.JSON ? JSON_FRAME : TEXT_FRAME) | level.ordinal() << 2;
            long time = ChronoUnit.MICROS.between(Instant.EPOCH, Instant.now());
            ByteBuffer frame = ByteBuffer.allocate(HEAD_BYTES + record.length);
            frame.putInt(type).putInt(record.length).putLong(time).put(record);
            try {
                frames.write(frame.array());
            } catch (IOException gone) {
                gone.printStackTrace();
            }
        }
    }

    private static OutputStream frames(String descriptor) {
        if (descriptor == null) {
            return null;
        }
        try {
            return new FileOutputStream("/dev/fd/" + descriptor);
        } catch (IOException unusable) {
            return null;
        }
    }

    private static <T> T value(String variable, T otherwise, java.util.function.Function<String, T> read) {
        String text = System.getenv(variable);
        try {
            return text == null || text.isEmpty() ? otherwise : read.apply(text);
        } catch (IllegalArgumentException unknown) {
            return otherwise;
        }
    }
}
