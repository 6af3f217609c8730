import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.HexFormat;
import org.apache.avro.Schema;
import org.apache.avro.SchemaCompatibility;
import org.apache.avro.generic.GenericDatumReader;
import org.apache.avro.io.BinaryDecoder;
import org.apache.avro.io.DecoderFactory;

/**
 * Answers for pairs of schemas, one a line of JSON: {"writer", "reader", "data": [hex, ...]} with
 * {"compatible": boolean, "locations": [...], "reads": [text, ...]}, or {"error"} where a schema cannot be parsed.
 */
public final class Resolve {
  public static void main(String[] arguments) throws Exception {
    ObjectMapper json = new ObjectMapper();
    PrintStream out = new PrintStream(System.out, false, StandardCharsets.UTF_8);
    BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
    for (String line = in.readLine(); line != null; line = in.readLine()) {
      out.println(json.writeValueAsString(answer(json, json.readTree(line))));
    }
    out.flush();
  }

  private static ObjectNode answer(ObjectMapper json, JsonNode pair) {
    ObjectNode answer = json.createObjectNode();
    Schema writer;
    Schema reader;
    try {
      writer = new Schema.Parser().parse(pair.get("writer").textValue());
      reader = new Schema.Parser().parse(pair.get("reader").textValue());
    } catch (Throwable error) {
      return answer.put("error", String.valueOf(error));
    }
    ArrayNode locations = answer.putArray("locations");
    try {
      SchemaCompatibility.SchemaPairCompatibility found = SchemaCompatibility.checkReaderWriterCompatibility(reader, writer);
      answer.put("compatible", found.getType() == SchemaCompatibility.SchemaCompatibilityType.COMPATIBLE);
      found.getResult().getIncompatibilities().forEach(one -> locations.add(one.getType() + " " + one.getLocation()));
    } catch (Throwable error) {
      answer.put("compatible", false);
      locations.add(String.valueOf(error));
    }
    ArrayNode reads = answer.putArray("reads");
    for (JsonNode datum : pair.get("data")) {
      reads.add(read(writer, reader, HexFormat.of().parseHex(datum.textValue())));
    }
    return answer;
  }

  /** An empty text, or why the datum is not read. */
  private static String read(Schema writer, Schema reader, byte[] datum) {
    try {
      BinaryDecoder decoder = DecoderFactory.get().binaryDecoder(datum, null);
      new GenericDatumReader<Object>(writer, reader).read(null, decoder);
      return decoder.isEnd() ? "" : "bytes are left";
    } catch (Throwable error) {
      return String.valueOf(error);
    }
  }
}
