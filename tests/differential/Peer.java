import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.Collection;
import java.util.HexFormat;
import java.util.Map;
import org.apache.avro.Schema;
import org.apache.avro.generic.GenericDatumReader;
import org.apache.avro.generic.GenericEnumSymbol;
import org.apache.avro.generic.GenericFixed;
import org.apache.avro.generic.IndexedRecord;
import org.apache.avro.io.BinaryDecoder;
import org.apache.avro.io.DecoderFactory;
import org.apache.avro.util.Utf8;

/** org.apache.avro as a peer: see `peers.py` for the protocol. */
final class Peer {
    private static final HexFormat HEX = HexFormat.of();

    public static void main(String[] args) throws Exception {
        // Deep data recurse.
        Thread thread = new Thread(null, () -> {
            try {
                answer();
            } catch (Exception error) {
                throw new IllegalStateException(error);
            }
        }, "peer", 64 << 20);
        thread.start();
        thread.join();
    }

    private static void answer() throws Exception {
        ObjectMapper json = new ObjectMapper();
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        PrintStream out = new PrintStream(System.out, false, StandardCharsets.UTF_8);
        for (String line; (line = lines.readLine()) != null; out.flush()) {
            JsonNode asked = json.readTree(line);
            Schema schema;
            try {
                schema = new Schema.Parser().parse(asked.get("schema").asText());
            } catch (RuntimeException error) {
                out.println(json.writeValueAsString(Map.of("refused", String.valueOf(error.getMessage()))));
                continue;
            }
            GenericDatumReader<Object> reader = new GenericDatumReader<>(schema);
            StringBuilder results = new StringBuilder("{\"results\":[");
            String separator = "";
            for (JsonNode data : asked.get("data")) {
                results.append(separator);
                judge(reader, HEX.parseHex(data.asText()), results);
                separator = ",";
            }
            out.println(results.append("]}"));
        }
    }

    private static void judge(GenericDatumReader<Object> reader, byte[] data, StringBuilder to) {
        BinaryDecoder decoder = DecoderFactory.get().binaryDecoder(data, null);
        Object value;
        try {
            value = reader.read(null, decoder);
            if (!decoder.isEnd()) {
                to.append("\"trailing\"");
                return;
            }
        } catch (Exception | StackOverflowError | OutOfMemoryError error) {
            to.append("\"reject\"");
            return;
        }
        to.append("{\"value\":");
        show(value, to);
        to.append('}');
    }

    private static void show(Object value, StringBuilder to) {
        if (value == null || value instanceof Boolean) {
            to.append(value);
        } else if (value instanceof IndexedRecord record) {
            to.append("{\"#\":[");
            int count = record.getSchema().getFields().size();
            for (int at = 0; at < count; at++) {
                to.append(at == 0 ? "" : ",");
                show(record.get(at), to);
            }
            to.append("]}");
        } else if (value instanceof Collection<?> items) {
            String separator = "[";
            for (Object item : items) {
                to.append(separator);
                show(item, to);
                separator = ",";
            }
            to.append(items.isEmpty() ? "[]" : "]");
        } else if (value instanceof Map<?, ?> entries) {
            String separator = "{";
            for (Map.Entry<?, ?> entry : entries.entrySet()) {
                to.append(separator).append('"').append(text(entry.getKey())).append("\":");
                show(entry.getValue(), to);
                separator = ",";
            }
            to.append(entries.isEmpty() ? "{}" : "}");
        } else {
            to.append('"').append(simple(value)).append('"');
        }
    }

    private static String simple(Object value) {
        if (value instanceof Float || value instanceof Double) {
            double number = ((Number) value).doubleValue();
            return Double.isNaN(number) ? "nan" : "n" + HEX.toHexDigits(Double.doubleToRawLongBits(number));
        } else if (value instanceof Number) {
            return value.toString();
        } else if (value instanceof ByteBuffer buffer) {
            byte[] bytes = new byte[buffer.remaining()];
            buffer.duplicate().get(bytes);
            return "x" + HEX.formatHex(bytes);
        } else if (value instanceof GenericFixed fixed) {
            return "x" + HEX.formatHex(fixed.bytes());
        } else if (value instanceof GenericEnumSymbol<?>) {
            return "s" + HEX.formatHex(value.toString().getBytes(StandardCharsets.UTF_8));
        }
        return "s" + text(value);
    }

    private static String text(Object value) {
        Utf8 text = (Utf8) value;
        return HEX.formatHex(text.getBytes(), 0, text.getByteLength());
    }
}
