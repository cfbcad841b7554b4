import com.github.javacliparser.Option;
import com.yahoo.labs.samoa.instances.Attribute;
import com.yahoo.labs.samoa.instances.Instance;
import com.yahoo.labs.samoa.instances.InstanceImpl;
import com.yahoo.labs.samoa.instances.Instances;
import com.yahoo.labs.samoa.instances.InstancesHeader;
import com.yahoo.labs.samoa.instances.Prediction;
import com.yahoo.labs.samoa.instances.Range;
import java.io.BufferedInputStream;
import java.io.DataInputStream;
import java.io.EOFException;
import java.io.FileOutputStream;
import java.io.FileDescriptor;
import java.io.IOException;
import java.io.OutputStream;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import moa.classifiers.Classifier;
import moa.core.Example;
import moa.core.InstanceExample;
import moa.options.ClassOption;

/**
 * Runs one multi-label learner of MOA for a parent process: batches in on the standard input,
 * votes and nanoseconds out on the standard output. It is here so that a learner in Java is timed
 * by Java's clock and scored by the parent's measures.
 *
 * <p>Everything is little-endian; an array is its elements one after the other. In comes first
 * {@code int labels, int features, int sparse (0 or 1), int seed, int bytes, byte[bytes] learner}
 * (MOA's own command line in UTF-8), answered by {@code int 0}; then per batch {@code int n, int
 * values, int positives, int[n + 1] offsets, int[values] columns, double[values] values, int[n + 1]
 * offsets of labels, int[positives] labels, byte[n] labelled}, answered by {@code long nanoseconds,
 * double[n * labels] scores, byte[n * labels] decisions}. The end of the input ends the program.
 */
public final class MoaPeer {
  private final int labels;
  private final int features;
  private final boolean sparse;
  private final Classifier learner;
  private final InstancesHeader header;

  private MoaPeer(int labels, int features, boolean sparse, int seed, String commandLine)
      throws Exception {
    this.labels = labels;
    this.features = features;
    this.sparse = sparse;
    this.header = header();
    warmUp(learner(commandLine, seed));
    this.learner = learner(commandLine, seed);
  }

  /** A fresh learner, made ready in the order of MOA's own prequential task. */
  private Classifier learner(String commandLine, int seed) throws Exception {
    Classifier fresh =
        (Classifier) ClassOption.cliStringToObject(commandLine, Classifier.class, new Option[0]);
    fresh.setRandomSeed(seed);
    fresh.prepareForUse();
    fresh.setModelContext(header);
    return fresh;
  }

  /**
   * Two events for a learner that is thrown away. WEKA's package manager wakes up with the first
   * of its classes and takes a second or two, which is no part of learning an event.
   */
  private void warmUp(Classifier scrap) {
    Batch nothing = new Batch();
    for (int round = 0; round < 2; round++) {
      scrap.getPredictionForInstance(example(nothing, 0, false));
      scrap.trainOnInstance(example(nothing, 0, true));
    }
  }

  /** Attributes as in MOA's multi-label files: the labels first, nominal; features numeric. */
  private InstancesHeader header() {
    List<Attribute> attributes = new ArrayList<>(labels + features);
    for (int label = 0; label < labels; label++) {
      attributes.add(new Attribute("y" + label, List.of("0", "1")));
    }
    for (int column = 0; column < features; column++) {
      attributes.add(new Attribute("x" + column));
    }
    Instances empty = new Instances("stream", attributes, 0);
    empty.setRangeOutputIndices(new Range("1-" + labels));
    return new InstancesHeader(empty);
  }

  /** Event {@code t} of a batch, with its labels or with all labels off. */
  private Example<Instance> example(Batch batch, int t, boolean withLabels) {
    int on = withLabels ? batch.labelOffsets[t + 1] - batch.labelOffsets[t] : 0;
    int stored = batch.offsets[t + 1] - batch.offsets[t];
    InstanceImpl instance;
    if (sparse) {
      int[] indices = new int[on + stored];
      double[] values = new double[on + stored];
      for (int i = 0; i < on; i++) {
        indices[i] = batch.positives[batch.labelOffsets[t] + i];
        values[i] = 1.0;
      }
      for (int i = 0; i < stored; i++) {
        indices[on + i] = labels + batch.columns[batch.offsets[t] + i];
        values[on + i] = batch.values[batch.offsets[t] + i];
      }
      instance = new InstanceImpl(1.0, values, indices, labels + features);
    } else {
      double[] values = new double[labels + features];
      for (int i = 0; i < on; i++) {
        values[batch.positives[batch.labelOffsets[t] + i]] = 1.0;
      }
      for (int i = 0; i < stored; i++) {
        values[labels + batch.columns[batch.offsets[t] + i]] =
            batch.values[batch.offsets[t] + i];
      }
      instance = new InstanceImpl(1.0, values);
    }
    instance.setDataset(header);
    return new InstanceExample(instance);
  }

  /** Predicts, then learns each event in order; only MOA's own work is timed. */
  private ByteBuffer run(Batch batch) {
    int n = batch.labelled.length;
    ByteBuffer answer = little(8 + 9 * n * labels);
    long nanoseconds = 0;
    for (int t = 0; t < n; t++) {
      // Its labels are not in what is predicted on, so that no learner can look at them.
      Example<Instance> question = example(batch, t, false);
      Example<Instance> lesson = batch.labelled[t] == 0 ? null : example(batch, t, true);
      long start = System.nanoTime();
      Prediction prediction = learner.getPredictionForInstance(question);
      if (lesson != null) {
        learner.trainOnInstance(lesson);
      }
      nanoseconds += System.nanoTime() - start;
      for (int label = 0; label < labels; label++) {
        boolean voted = prediction != null && prediction.numClasses(label) > 0;
        double vote = voted ? prediction.getVote(label, 1) : Double.NaN;
        answer.putDouble(8 + 8 * (t * labels + label), vote);
        // The rule of MOA's BasicMultiLabelPerformanceEvaluator.
        boolean on = voted && vote > prediction.getVote(label, 0);
        answer.put(8 + 8 * n * labels + t * labels + label, (byte) (on ? 1 : 0));
      }
    }
    answer.putLong(0, nanoseconds);
    return answer;
  }

  /** Events as they come in: compressed sparse rows of features and of labels. */
  private static final class Batch {
    final int[] offsets;
    final int[] columns;
    final double[] values;
    final int[] labelOffsets;
    final int[] positives;
    final byte[] labelled;

    /** One event without features and labels. */
    Batch() {
      offsets = new int[2];
      columns = new int[0];
      values = new double[0];
      labelOffsets = new int[2];
      positives = new int[0];
      labelled = new byte[] {1};
    }

    Batch(int n, DataInputStream in) throws IOException {
      ByteBuffer sizes = read(in, 8);
      int stored = sizes.getInt();
      int positive = sizes.getInt();
      offsets = ints(in, n + 1);
      columns = ints(in, stored);
      values = new double[stored];
      read(in, 8 * stored).asDoubleBuffer().get(values);
      labelOffsets = ints(in, n + 1);
      positives = ints(in, positive);
      labelled = read(in, n).array();
    }

    private static int[] ints(DataInputStream in, int count) throws IOException {
      int[] found = new int[count];
      read(in, 4 * count).asIntBuffer().get(found);
      return found;
    }
  }

  private static ByteBuffer little(int bytes) {
    return ByteBuffer.allocate(bytes).order(ByteOrder.LITTLE_ENDIAN);
  }

  private static ByteBuffer read(DataInputStream in, int bytes) throws IOException {
    ByteBuffer found = little(bytes);
    in.readFully(found.array());
    return found;
  }

  public static void main(String[] arguments) {
    OutputStream out = new FileOutputStream(FileDescriptor.out);
    System.setOut(System.err); // learners print; what goes to the parent is ours alone
    DataInputStream in = new DataInputStream(new BufferedInputStream(System.in, 1 << 16));
    try {
      ByteBuffer start = read(in, 20);
      int labels = start.getInt();
      int features = start.getInt();
      boolean sparse = start.getInt() != 0;
      int seed = start.getInt();
      byte[] commandLine = read(in, start.getInt()).array();
      String text = new String(commandLine, StandardCharsets.UTF_8);
      MoaPeer peer = new MoaPeer(labels, features, sparse, seed, text);
      out.write(little(4).array());
      while (true) {
        int n;
        try {
          n = read(in, 4).getInt();
        } catch (EOFException end) {
          System.exit(0); // whatever threads a learner has left behind
          return;
        }
        out.write(peer.run(new Batch(n, in)).array());
      }
    } catch (Throwable fault) {
      // Running out of memory included: the parent shows the last lines of this.
      fault.printStackTrace();
      System.exit(1);
    }
  }
}
